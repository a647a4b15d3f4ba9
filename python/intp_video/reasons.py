"""Error messages of other libraries, shortened to one line."""

__all__ = ["in_one_line"]


def in_one_line(error: object) -> str:
    """The first line of an error message, and further lines until a sentence is complete.

    Libraries append stack traces to their messages, and begin with "Likely causes:".
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return type(error).__name__
    text = lines[0]
    for line in lines[1:]:
        if not text.endswith((":", ",", ";")):
            break
        text += " " + line
    return text.rstrip(":,; ")
