"""PyAV: carries a recent FFmpeg (AV1 too) and survives damage that stops the other decoders."""

import bisect
import contextlib
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..reasons import in_one_line
from .backend import BackendFailure, length_of
from .picture import Pictures, Traits

__all__ = ["open_stream", "traits_of"]


def open_stream(path: str, num_threads: int) -> "PyavStream":
    return PyavStream(path, num_threads)


def traits_of(path: str) -> Traits | None:
    """How to show the first frame of a file, for decoders that do not ask; None if unknown."""
    import av

    try:
        with av.open(path, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                return None
            frame = next(container.decode(stream), None)
            return None if frame is None else Traits.of(frame, stream)
    except av.FFmpegError:
        return None


class PyavStream:
    def __init__(self, path: str, num_threads: int):
        self._path, self._num_threads = path, num_threads
        self._container: Any = None
        self._stream: Any = None
        self._open()
        self._failed_packets = 0
        self._counted = self._reordered = False
        self._pictures = Pictures()
        try:
            self._index()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """Opens the file at its beginning, again if it was open."""
        import av

        self.close()
        try:
            self._container = av.open(self._path, metadata_errors="replace")
        except av.FFmpegError as error:
            raise BackendFailure(error.strerror or in_one_line(error)) from error
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            kinds = ", ".join(sorted({s.type for s in self._container.streams})) or "none"
            raise BackendFailure(f"it has no video stream (streams: {kinds})")
        if self._stream.codec_context is None:
            raise BackendFailure("its video codec is unknown to this FFmpeg")
        coded = self._stream.codec_context.sample_aspect_ratio
        self._pixel_may_change = coded == self._stream.sample_aspect_ratio
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = self._num_threads

    def _index(self) -> None:
        """Reads all packets, decoding none: which frames there are, and where one can start."""
        pts, keys, last = [], [], (-math.inf, 0)
        for packet in self._packets():
            when = packet.pts if packet.pts is not None else packet.dts
            if when is None:
                raise BackendFailure("its frames have no timestamps (raw stream?): remux the file")
            if packet.is_discard:  # outside the part that the container says to show
                continue
            pts.append(when)
            # Only that of the last: the others' are distances in the order of the file.
            last = max(last, (when, packet.duration or 0))
            if packet.is_keyframe:
                keys.append(when)
        if not pts:
            raise BackendFailure("its video stream has no frames")
        self._pts = sorted(set(pts))
        self._keys = sorted(set(keys)) or self._pts[:1]
        # AVI has no display times. Those that FFmpeg derives follow the order of the file, which is
        # wrong for H.264 with B-frames. FFmpeg's tools then take frames as they come; so do we.
        self._counted = (
            self._container.format.name == "avi"
            and self._stream.codec_context.has_b_frames
            and pts == self._pts
        )
        if self._counted:
            self._keys = self._pts[:1]
        self._tick = float(self._stream.time_base)
        self.count = len(self._pts)
        first = self._pts[0]
        self.start = first * self._tick
        self.starts = np.array([when - first for when in self._pts]) * self._tick
        self.duration = length_of(self.starts, (sum(last) - first) * self._tick)
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else self.count / (self.duration or 1.0)

    def decode(self, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, float] | None]:
        key, frames, frame = None, iter(()), None
        for index in indices:
            target = self._pts[index]
            nearest_key = max(bisect.bisect_right(self._keys, target) - 1, 0)
            if nearest_key != key:
                key, frame = nearest_key, None
                frames = self._frames_from(key)
            while frame is None or frame.pts < target:
                frame = next(frames, None)
                if frame is None:
                    break
            if frame is None or frame.pts != target:  # the decoder went past it
                yield None
                continue
            yield self._shown(frame), frame.pts * self._tick

    def _frames_from(self, key: int) -> Iterator:
        """Decoded frames in presentation order, from keyframe `key` or some way before it.

        A container may seek by decoding time and land one keyframe late: then from an earlier one.
        """
        for earlier in (key, key - 1):
            if earlier > 0:
                self._container.seek(self._keys[earlier], stream=self._stream)
                frames = self._frames()
                first = next(frames, None)
                if first is not None and first.pts <= self._keys[key]:
                    yield first
                    yield from frames
                    return
        self._open()
        yield from self._counted_frames() if self._counted else self._frames()

    def _counted_frames(self) -> Iterator:
        """All frames; the n-th that the decoder gives is shown n-th, whatever its time says."""
        for when, frame in zip(self._pts, self._frames(), strict=False):
            self._reordered |= frame.pts != when
            frame.pts = when
            yield frame

    def _frames(self) -> Iterator:
        import av

        for packet in self._packets(flush=True):
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                self._failed_packets += 1
                continue
            yield from (frame for frame in decoded if frame.pts is not None)

    def _packets(self, flush: bool = False) -> Iterator:
        """The packets from here on. The empty one at the end flushes the decoder."""
        import av

        with contextlib.suppress(av.FFmpegError):  # the file ends in the middle of something
            for packet in self._container.demux(self._stream):
                if packet.size or flush:
                    yield packet

    def _shown(self, frame) -> np.ndarray:
        """uint8 ``[H, W, 3]``, as a player shows it."""
        return self._pictures.show(frame, Traits.of(frame, self._stream, self._pixel()))

    def _pixel(self) -> Fraction | None:
        """Width over height of the pixels of the frame decoded last; None: that of the stream.

        A container's own ratio is for the whole stream. Of frames that the decoder lets go
        together, as at the end of the file, PyAV tells the ratio of the last.
        """
        return self._stream.codec_context.sample_aspect_ratio if self._pixel_may_change else None

    def notes(self) -> list[str]:
        notes = self._pictures.notes()
        if self._reordered:
            notes.append(
                "AVI does not tell when frames that are stored out of order are shown: all were "
                "decoded from the beginning, and counted"
            )
        if self._failed_packets:
            notes.append(
                f"damaged packets met: {self._failed_packets}; frames from there to the next "
                "keyframe may show remains of others"
            )
        return notes

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
