"""The part of a video that frames are taken from, and how many they are at a rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..errors import VideoError
from ..sampling import MAX_FRAMES
from .clip import Clip

__all__ = ["Part"]

_BEYOND = 0.1  # seconds: many files tell the length of their last frame wrongly
_COUNTLESS = 1e15  # frames, of which nobody needs to know the exact number


@dataclass(frozen=True)
class Part:
    """By the clock of the video: seconds since its first frame.

    Attributes:
        start: None for the first frame.
        end: None for the end of the last frame.
        fps: frames a second to take; None for a number of frames.
    """

    start: float | None = None
    end: float | None = None
    fps: float | None = None

    def check(self, function: str, video: Any = None) -> None:
        """Say what is wrong before a video is opened.

        Args:
            video: what it is a part of; a :class:`Clip` has been sampled, and has no part.

        Raises:
            TypeError: not numbers, or a part of a clip.
            ValueError: negative, not finite, or an end that is not after the start.
        """
        if isinstance(video, Clip) and self != Part():
            raise TypeError(
                f"{function}: start, end, fps: expected with a video file, got a Clip, which has "
                "been sampled already"
            )
        for name in ("start", "end", "fps"):
            _check_seconds(getattr(self, name), function, name)
        if self.fps == 0:
            raise ValueError(f"{function}: fps: expected more than 0, got 0")
        if self.end is not None and self.end <= (self.start or 0):
            raise ValueError(
                f"{function}: end: expected more than start, {self.start or 0:g} s, got "
                f"{self.end:g}"
            )

    def within(self, duration: float, path: str) -> tuple[float, float]:
        """Start and end in a video of so many seconds.

        Raises:
            VideoError: the video ends before.
        """
        start, end = self.start or 0.0, duration if self.end is None else self.end
        if start and start >= duration:
            raise VideoError(
                f"{path}: start: expected less than {duration:g} s, where the video ends, got "
                f"{start:g}"
            )
        if end > duration + _BEYOND:
            raise VideoError(
                f"{path}: end: expected at most {duration:g} s, where the video ends, got {end:g}"
            )
        return float(start), float(min(end, duration))

    def frames(self, most: int | None, seconds: float, path: str) -> tuple[int, str | None]:
        """How many frames to take of so many seconds, and a note if the rate gives more.

        Args:
            most: None for as many as ``fps`` gives.

        Raises:
            VideoError: it gives none, or more than anybody wants.
        """
        if self.fps is None:
            assert most is not None
            return most, None
        wanted = min(seconds * self.fps, _COUNTLESS) if seconds else 1  # a single picture
        count = math.floor(wanted + 0.5)
        if count == 0:
            raise VideoError(
                f"{path}: fps: expected at least {0.5 / seconds:.3g}, for one frame of "
                f"{seconds:g} s, got {self.fps:g}"
            )
        if most is not None and count > most:
            return most, (
                f"{self.fps:g} frames a second would be {count:,}: {most:,} were taken, "
                f"{most / seconds:.3g} a second"
            )
        if count > MAX_FRAMES:
            raise VideoError(
                f"{path}: fps: expected at most {MAX_FRAMES:,} frames of {seconds:g} s, got "
                f"{count:,} at {self.fps:g}"
            )
        return count, None


def _check_seconds(value: Any, function: str, name: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{function}: {name}: expected a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int
        number = math.inf
    if not 0 <= number < math.inf:
        raise ValueError(f"{function}: {name}: expected a finite number >= 0, got {value}")
