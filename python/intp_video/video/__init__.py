"""Reading frames out of real videos, with whichever decoder is installed."""

from .backend import BACKENDS, BackendStatus, backend_status
from .clip import Clip
from .part import Part
from .reader import check_reading, check_video_file, read_video

__all__ = [
    "BACKENDS",
    "BackendStatus",
    "Clip",
    "Part",
    "backend_status",
    "check_reading",
    "check_video_file",
    "read_video",
]
