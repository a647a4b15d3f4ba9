"""decord: what most Video-LLMs were trained with; its FFmpeg of 2018 knows no AV1."""

import bisect
import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from ..reasons import in_one_line
from .backend import BackendFailure, check_utf8, length_of

__all__ = ["open_stream"]

# decord silently shows a neighbor in place of a frame that it cannot decode, unless the number of
# such frames has a limit. The first such frame exceeds this limit, a share of all frames.
_NO_SILENT_REPAIRS = 1e-9


# Frames without a timestamp get one near 2^63 ticks.
_NO_TIMESTAMP = 1e9


def open_stream(path: str, num_threads: int) -> "DecordStream":
    check_utf8(path)
    return DecordStream(path, num_threads)


class DecordStream:
    def __init__(self, path: str, num_threads: int):
        import decord

        decord.logging.set_level(decord.logging.QUIET)  # FFmpeg's own words; ours are the notes
        self._path, self._num_threads = path, num_threads
        self._reader = self._open()
        self.count = len(self._reader)
        if self.count == 0:
            raise BackendFailure("its video stream has no frames")
        try:
            spans = self._reader.get_frame_timestamp(range(self.count))
        except IndexError as error:  # it counted by the container's header and found no packet
            raise BackendFailure("its video stream has no frames") from error
        spans = np.asarray(spans, dtype=np.float64)
        if spans[-1, 1] > _NO_TIMESTAMP:
            raise BackendFailure("its frames have no timestamps")
        self._seconds = spans[:, 0]
        self.start = float(spans[0, 0])
        self.starts = np.maximum.accumulate(self._seconds - self.start)  # damage may turn it back
        self.duration = length_of(self.starts, float(spans[-1, 1] - spans[0, 0]))
        self.fps = float(self._reader.get_avg_fps())

    def _open(self):
        import decord

        try:
            with _no_stderr():
                return decord.VideoReader(
                    self._path,
                    ctx=decord.cpu(0),
                    num_threads=self._num_threads,
                    fault_tol=_NO_SILENT_REPAIRS,
                )
        except _failures() as error:
            if "cannot find video stream" in str(error):
                raise BackendFailure("no video stream that decord can decode") from error
            raise BackendFailure(_reason(error)) from error

    def decode(self, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, float] | None]:
        keyframes = list(self._reader.get_key_indices())
        resume_at = 0  # frames before this one are unavailable
        for index in indices:
            if index < resume_at:
                yield None
                continue
            try:
                if self._reader is None:
                    self._reader = self._open()
                with _no_stderr():
                    frame = self._reader[index]
            except (*_failures(), BackendFailure):  # type: ignore[misc]
                # The reader gives nothing more once its decoder has failed, and a new one fails at
                # the same place: the next available frame follows the next keyframe.
                self._reader = None
                following = bisect.bisect_right(keyframes, index)
                resume_at = keyframes[following] if following < len(keyframes) else self.count
                yield None
                continue
            # A bridge chosen by the caller's program (torch, mxnet, ...) decides the type.
            array = frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame)
            yield array, float(self._seconds[index])

    def notes(self) -> list[str]:
        return []

    def close(self) -> None:
        self._reader = None


def _failures() -> tuple[type[Exception], ...]:
    import decord

    return decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Silences the C++ side, which prints what it also raises."""
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _reason(error: Exception) -> str:
    """Drops time and source location: "[12:00:00] /x/video_reader.cc:151: Check failed: ..."."""
    return in_one_line(error).rpartition(".cc:")[2].partition(": ")[2] or in_one_line(error)
