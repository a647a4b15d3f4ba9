"""Which frames of a video are shown to the model.

The time of a video is cut into as many equal segments as frames are wanted, and the frame on screen
in the middle of each segment is taken. No segment is favored, the first and the last frame (often
black) are not forced in, and a video with fewer frames than asked for simply repeats some.

    12 frames, 4 wanted      |. x .|. x .|. x .|. x .|      indices 1 4 7 10

To reproduce the original Video-LLaVA there is ``"ends"``: by count, from the first to the last.

    12 frames, 4 wanted      x . . x . . . x . . . x        indices 0 3 7 11
"""

from numbers import Integral

import numpy as np

__all__ = [
    "MAX_FRAMES",
    "SAMPLINGS",
    "check_frames",
    "has_constant_rate",
    "repeat_to_groups",
    "round_up_to_groups",
    "sample_ends",
    "sample_indices",
    "sample_on_screen",
    "sample_part",
    "sample_times",
]

MAX_FRAMES = 100_000
"""More frames than this is taken for a mistake: at 257 tokens each they are 25 million tokens."""


SAMPLINGS = ("centers", "ends")
"""Ways of choosing frames, the default first."""

_CLOCK = 1.1e-3  # seconds: Matroska and FLV round to milliseconds, on both ends of a distance
_LAST = 0.1  # seconds: many files tell the length of their last frame wrongly, by a frame or so


def check_frames(frames: int, *, function: str, name: str = "frames", least: int = 1) -> int:
    """Returns `frames` as an int, or says what is wrong with it.

    Raises:
        TypeError: not an integer (booleans are refused too).
        ValueError: outside ``least..MAX_FRAMES``.
    """
    if isinstance(frames, bool) or not isinstance(frames, Integral):
        raise TypeError(f"{function}: {name}: expected an int, got {type(frames).__name__}")
    if not least <= frames <= MAX_FRAMES:
        raise ValueError(
            f"{function}: {name}: expected {least} to {MAX_FRAMES:,}, got {int(frames):,}"
        )
    return int(frames)


def sample_indices(count: int, frames: int) -> np.ndarray:
    """The frames to read from `count` evenly spaced ones: the middle of each of `frames` segments.

    Index i is ``floor((i + 1/2) * count / frames)``, in whole numbers and so exact for any length.

    Returns:
        int64 ``[frames]``, never decreasing; some repeat when ``count < frames``.

    Raises:
        TypeError, ValueError: `frames` or `count` is not a positive integer.
    """
    frames = check_frames(frames, function="sample_indices")
    _check_count(count, "sample_indices")
    return (2 * np.arange(frames, dtype=np.int64) + 1) * int(count) // (2 * frames)


def sample_ends(count: int, frames: int) -> np.ndarray:
    """The frames that the original Video-LLaVA reads: by count, the first, the last, and even steps
    between, rounded down: ``numpy.linspace(0, count - 1, frames, dtype=int)``.

    Returns:
        int64 ``[frames]``, never decreasing.

    Raises:
        TypeError, ValueError: `frames` or `count` is not a positive integer.
    """
    frames = check_frames(frames, function="sample_ends")
    _check_count(count, "sample_ends")
    return np.linspace(0, int(count) - 1, frames, dtype=np.int64)


def sample_times(duration: float, frames: int) -> np.ndarray:
    """The same positions in seconds: the middle of each of `frames` segments of `duration` seconds.

    Returns:
        float64 ``[frames]``.

    Raises:
        TypeError, ValueError: `frames` is not a positive integer, or `duration` is negative or not
            finite.
    """
    frames = check_frames(frames, function="sample_times")
    _check_duration(duration, "sample_times")
    return (np.arange(frames, dtype=np.float64) + 0.5) * (duration / frames)


def sample_on_screen(starts: np.ndarray, duration: float, frames: int) -> np.ndarray:
    """The frames on screen in the middle of each of `frames` segments of the time of a video.

    At a constant rate these are exactly those of :func:`sample_indices`, however the container
    rounds its clock.

    Args:
        starts: float64 ``[count]``, ascending, seconds since the first frame: when each is shown.
        duration: seconds from the first frame to the end of the last.
        frames: how many to take.

    Returns:
        int64 ``[frames]``, never decreasing; a frame that stays for several segments repeats.

    Raises:
        TypeError, ValueError: `frames` is not a positive integer, `duration` is negative or not
            finite, or `starts` is empty.
    """
    frames = check_frames(frames, function="sample_on_screen")
    _check_duration(duration, "sample_on_screen")
    if len(starts) == 0:
        raise ValueError("sample_on_screen: starts must hold at least one frame, got none")
    if has_constant_rate(starts, duration):
        return sample_indices(len(starts), frames)
    # A frame that begins in the very middle is on screen, whatever its float says.
    middles = sample_times(duration, frames) + 1e-6 + _single_precision(duration)
    return np.searchsorted(starts, middles, side="right") - 1


def sample_part(
    starts: np.ndarray | None,
    count: int,
    duration: float,
    frames: int,
    sampling: str,
    begin: float,
    end: float,
) -> tuple[np.ndarray, int]:
    """The frames to take of a part of a video: what is on screen in the middle of each of `frames`
    segments from `begin` to `end`; with ``"ends"``, by count among the frames of that part.

    Args:
        starts: as :func:`sample_on_screen` takes them; None: `count` frames are taken to be evenly
            spaced.
        count: frames of the whole video.
        duration: its seconds.
        frames: how many to take.
        sampling: one of :data:`SAMPLINGS`.
        begin, end: seconds since the first frame.

    Returns:
        int64 ``[frames]``, never decreasing, and how many frames that part has.
    """

    def on_screen(seconds: np.ndarray) -> np.ndarray:
        if starts is not None and not has_constant_rate(starts, duration):
            slack = 1e-6 + _single_precision(duration)
            return np.searchsorted(starts, seconds + slack, side="right") - 1
        period = duration / count if starts is None or count == 1 else starts[-1] / (count - 1)
        found = np.floor(seconds / (period or 1.0) + 1e-4).astype(np.int64)
        return np.clip(found, 0, count - 1)

    just_before = max(begin, end - 2e-3 * (duration / count))
    first, last = on_screen(np.array([begin, just_before])).tolist()
    available = last - first + 1
    if sampling == "ends":
        return first + sample_ends(available, frames), available
    return on_screen(begin + sample_times(end - begin, frames)), available


def has_constant_rate(starts: np.ndarray, duration: float) -> bool:
    """Whether frames that begin at `starts` (seconds, ascending) are evenly spaced, up to rounding.

    The end counts as well: a last picture that stays on screen breaks the constant rate.
    """
    if len(starts) == 1:
        return True
    period = (starts[-1] - starts[0]) / (len(starts) - 1)
    off = np.abs(starts - starts[0] - period * np.arange(len(starts))).max()
    last = duration - (starts[-1] - starts[0])
    return bool(off <= _CLOCK + _single_precision(duration) and abs(last - period) <= _LAST)


def _single_precision(seconds: float) -> float:
    """How far a float32 may be from a time in seconds: some decoders store times that way."""
    return seconds * 2.0**-23


def _check_count(count: int, function: str) -> None:
    if isinstance(count, bool) or not isinstance(count, Integral):
        raise TypeError(f"{function}: count: expected an int, got {type(count).__name__}")
    if count < 1:
        raise ValueError(f"{function}: count: expected at least 1, got {count}")


def _check_duration(duration: float, function: str) -> None:
    if not (np.isfinite(duration) and duration >= 0):
        raise ValueError(f"{function}: duration must be finite and >= 0, got {duration}")


def round_up_to_groups(frames: int, frames_per_group: int) -> int:
    """The smallest whole number of groups that holds all `frames`, in frames: 60, 8 -> 64.

    Raises:
        TypeError, ValueError: an argument is not a positive integer.
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
        TypeError, ValueError: an argument is not a positive integer.
    """
    return sample_indices(frames, round_up_to_groups(frames, frames_per_group))
