"""stdin, stdout and stderr as they are handed to the program: closed, or of a narrow encoding."""

import codecs
import os
import sys

__all__ = ["prepare_streams"]


def prepare_streams() -> None:
    """Makes what is printed harmless: it cannot land in another file, and any text can be printed.
    A closed stdin is an empty one.

    Raises:
        OSError: stdout is closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened gets this number, and what is printed
            os.open(os.devnull, os.O_RDWR)  # the lowest free one: this
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  open until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        raise OSError("stdout is closed: the result has nowhere to go")
    codecs.register_error(_print_anyway.__name__, _print_anyway)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=_print_anyway.__name__)


def _print_anyway(error: UnicodeError) -> tuple[str | bytes, int]:
    """A file name that is not UTF-8 comes out in its own bytes, other letters as \\u4e16."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
