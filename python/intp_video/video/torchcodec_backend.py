"""torchcodec: PyTorch's own decoder, with the FFmpeg of the machine."""

from collections.abc import Iterator, Sequence

import numpy as np

from ..reasons import in_one_line
from .backend import BackendFailure, check_utf8

__all__ = ["LOAD_HINT", "open_stream"]

LOAD_HINT = "torchcodec needs FFmpeg's shared libraries and a build that fits the installed torch"


def open_stream(path: str, num_threads: int) -> "TorchcodecStream":
    check_utf8(path)
    return TorchcodecStream(path, num_threads)


class TorchcodecStream:
    def __init__(self, path: str, num_threads: int):
        self._path, self._num_threads = path, num_threads
        self._decoder = self._open()
        metadata = self._decoder.metadata
        self.count = metadata.num_frames or 0
        if self.count == 0:
            raise BackendFailure("its video stream has no frames")
        self.start = float(metadata.begin_stream_seconds)
        self.starts = None  # it tells the time of a frame only with its picture
        self.duration = float(metadata.end_stream_seconds) - self.start
        self.fps = float(metadata.average_fps)

    def _open(self):
        from torchcodec.decoders import VideoDecoder

        try:
            # "exact" scans the packets once, so that an index means the same frame everywhere.
            return VideoDecoder(
                self._path,
                dimension_order="NHWC",
                num_ffmpeg_threads=self._num_threads,
                seek_mode="exact",
            )
        except (RuntimeError, ValueError) as error:
            raise BackendFailure(_reason(error)) from error

    def decode(self, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, float] | None]:
        for index in indices:
            try:
                if self._decoder is None:
                    self._decoder = self._open()
                frame = self._decoder.get_frame_at(index)
            except (RuntimeError, BackendFailure):
                # A decoder that has failed goes on, but numbers the frames after it wrongly.
                self._decoder = None
                yield None
                continue
            yield frame.data.numpy(), float(frame.pts_seconds)

    def notes(self) -> list[str]:
        return []

    def close(self) -> None:
        self._decoder = None


def _reason(error: Exception) -> str:
    """Drops the source location: "function, /x/SingleStreamDecoder.cpp:52, Could not open ..."."""
    line = in_one_line(error)
    return line.rpartition(".cpp:")[2].partition(", ")[2] or line
