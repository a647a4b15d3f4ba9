"""Which frames of a video are shown to the model.

A video is cut into as many equal segments as frames are wanted, and the middle of each segment is
taken. No segment is favoured, the first and the last frame (often black) are not forced in, and a
video with fewer frames than asked for simply repeats some.

    12 frames, 4 wanted      |. x .|. x .|. x .|. x .|      indices 1 4 7 10
"""

from numbers import Integral

import numpy as np

__all__ = [
    "MAX_FRAMES",
    "check_frames",
    "repeat_to_groups",
    "round_up_to_groups",
    "sample_indices",
    "sample_times",
]

MAX_FRAMES = 100_000
"""More frames than this is taken for a mistake: at 257 tokens each they are 25 million tokens."""


def check_frames(frames: int, *, function: str, name: str = "frames", least: int = 1) -> int:
    """Returns `frames` as an int, or says what is wrong with it.

    Raises:
        TypeError: not an integer (booleans are refused too).
        ValueError: outside ``least..MAX_FRAMES``.
    """
    if isinstance(frames, bool) or not isinstance(frames, Integral):
        raise TypeError(f"{function}: {name} must be an int, got {type(frames).__name__}")
    if not least <= frames <= MAX_FRAMES:
        raise ValueError(
            f"{function}: {name} must be between {least} and {MAX_FRAMES:,}, got {int(frames):,}"
        )
    return int(frames)


def sample_indices(count: int, frames: int) -> np.ndarray:
    """The frames to read from a video of `count` frames: the middle of each of `frames` segments.

    Index i is ``floor((i + 1/2) * count / frames)``, in whole numbers and so exact for any length.

    Returns:
        int64 ``[frames]``, never decreasing; some repeat when ``count < frames``.

    Raises:
        TypeError, ValueError: `frames` or `count` is no positive integer.
    """
    frames = check_frames(frames, function="sample_indices")
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"sample_indices: count must be an int, got {type(count).__name__}")
    if count < 1:
        raise ValueError(f"sample_indices: count must be at least 1, got {count}")
    return (2 * np.arange(frames, dtype=np.int64) + 1) * int(count) // (2 * frames)


def sample_times(duration: float, frames: int) -> np.ndarray:
    """The same positions in seconds: the middle of each of `frames` segments of `duration` seconds.

    Returns:
        float64 ``[frames]``.

    Raises:
        TypeError, ValueError: `frames` is no positive integer, `duration` negative or not finite.
    """
    frames = check_frames(frames, function="sample_times")
    if not (np.isfinite(duration) and duration >= 0):
        raise ValueError(f"sample_times: duration must be finite and >= 0, got {duration}")
    return (np.arange(frames, dtype=np.float64) + 0.5) * (duration / frames)


def round_up_to_groups(frames: int, frames_per_group: int) -> int:
    """The smallest whole number of groups that holds all `frames`, in frames: 60, 8 -> 64.

    Raises:
        TypeError, ValueError: an argument is no positive integer.
    """
    frames = check_frames(frames, function="round_up_to_groups")
    per_group = check_frames(
        frames_per_group, function="round_up_to_groups", name="frames_per_group"
    )
    return -(-frames // per_group) * per_group


def repeat_to_groups(frames: int, frames_per_group: int) -> np.ndarray:
    """Fills whole groups by showing some of the `frames` twice, spread evenly; none is dropped.

    ``clip.take(repeat_to_groups(60, 8))`` has 64 frames, four of them repeated.

    Returns:
        int64 ``[round_up_to_groups(frames, frames_per_group)]``, never decreasing, every one of
        ``0..frames-1`` at least once.

    Raises:
        TypeError, ValueError: an argument is no positive integer.
    """
    return sample_indices(frames, round_up_to_groups(frames, frames_per_group))
