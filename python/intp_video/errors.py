"""The errors of this package.

Every error that a user's input can cause derives from `IntpVideoError`; each also derives from the
built-in exception a caller would expect, so that ``except ValueError`` works as well.
"""

from . import compat

__all__ = ["IntpVideoError", "ModelError", "VideoError", "broken"]


class IntpVideoError(Exception):
    """Root of the errors this package raises on purpose."""


class VideoError(IntpVideoError, ValueError):
    """A video that cannot be read: which file, why, and what to install or do about it."""


class ModelError(IntpVideoError, ValueError):
    """A model that cannot be loaded, extended or written: which one, why, and what would work."""


def broken(what: str) -> ModelError:
    """The error of a part that transformers did not use as this package knows it."""
    return ModelError(
        f"{what}. The answer would be wrong, so there is none: the model or transformers "
        f"{compat.transformers_version()} does not work as intp_video knows it (tested with "
        f"{compat.OLDEST} to {compat.NEWEST_TESTED})"
    )
