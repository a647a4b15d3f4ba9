"""Questions about many videos: in a file, or in an engine for data."""

from .answerer import VideoAnswerer

__all__ = ["VideoAnswerer"]
