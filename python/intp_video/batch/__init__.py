"""Questions about many videos: in a file, or in an engine for data."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .answerer import VideoAnswerer

__all__ = ["VideoAnswerer"]


def __getattr__(name: str) -> "Any":
    """Imported when asked for: what is beside it needs neither torch nor transformers."""
    if name != "VideoAnswerer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .answerer import VideoAnswerer

    return VideoAnswerer
