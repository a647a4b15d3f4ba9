"""What `read_video` returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["Clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames sampled from a video, in presentation order, and how they were obtained.

    Attributes:
        frames: uint8 ``[T, H, W, 3]``, RGB, as a player shows them: upright, with square pixels.
        timestamps: float64 ``[T]``, seconds since the first frame of the video.
        indices: int64 ``[T]``, which frame of the video each one is, counted from 0.
        fps: average frames per second of the video (not of the sample).
        duration: seconds from the first frame of the video to the end of its last.
        start, end: the part of the video that the frames stand for, in seconds since its first
            frame; by default all of it.
        backend: the decoder that read it, one of `BACKENDS`.
        path: the file, as given.
        notes: one sentence for each loss, repetition or fallback; empty if there was none.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    indices: np.ndarray
    fps: float
    duration: float
    backend: str
    path: str
    notes: tuple[str, ...] = ()
    start: float = 0.0
    end: float = None  # type: ignore[assignment]  # of the video

    def __post_init__(self) -> None:
        if self.end is None:
            object.__setattr__(self, "end", self.duration)

    def __repr__(self) -> str:
        # pixels would fill the screen of whoever looks at an Answer
        shape = list(np.shape(self.frames))
        return f"Clip({self.path!r}, {self.extent}, frames={shape}, backend={self.backend!r})"

    @property
    def covered(self) -> float:
        """Seconds that the frames stand for."""
        return self.end - self.start

    @property
    def extent(self) -> str:
        """The same in words: "60.0 s", or "10.0 to 20.0 s of 60.0 s"."""
        whole = f"{self.duration:.1f} s"
        if self.covered == self.duration:
            return whole
        return f"{self.start:.1f} to {self.end:.1f} s of {whole}"

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, positions: Sequence[int] | np.ndarray) -> "Clip":
        """The clip of the frames at `positions` (``[T']``, into this clip), repeats allowed."""
        positions = np.asarray(positions, dtype=np.int64)
        return replace(
            self,
            frames=self.frames[positions],
            timestamps=self.timestamps[positions],
            indices=self.indices[positions],
        )
