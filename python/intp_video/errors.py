"""The errors of this package.

Every error that a user's input can cause derives from `IntpVideoError`; each also derives from the
built-in exception a caller would expect, so that ``except ValueError`` works as well.
"""

__all__ = ["IntpVideoError", "ModelError", "VideoError"]


class IntpVideoError(Exception):
    """Root of the errors this package raises on purpose."""


class VideoError(IntpVideoError, ValueError):
    """A video that cannot be read: which file, why, and what to install or do about it."""


class ModelError(IntpVideoError, ValueError):
    """A model that cannot be loaded, extended or written: which one, why, and what would work."""
