"""Reading frames out of real videos, with whichever decoder is installed."""

from .backend import BACKENDS, BackendStatus, backend_status
from .clip import Clip
from .reader import check_video_file, read_video

__all__ = ["BACKENDS", "BackendStatus", "Clip", "backend_status", "check_video_file", "read_video"]
