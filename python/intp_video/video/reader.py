"""`read_video`: chooses a decoder, samples frames, and says what was lost."""

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import VideoError
from ..sampling import (
    SAMPLINGS,
    check_frames,
    has_constant_rate,
    sample_ends,
    sample_indices,
    sample_on_screen,
    sample_part,
)
from .backend import (
    BACKENDS,
    BackendFailure,
    BackendMissing,
    VideoStream,
    default_threads,
    load_backend,
)
from .clip import Clip
from .diagnose import looks_like_text, missing_bytes
from .part import Part

__all__ = ["check_reading", "check_video_file", "read_video"]

_MOST = 6  # times or ranges that one note names


def read_video(
    path: str | os.PathLike,
    frames: int | None,
    backend: str = "auto",
    *,
    sampling: str = "centers",
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    num_threads: int | None = None,
) -> Clip:
    """Reads `frames` frames, spread evenly over the time of a video, in presentation order.

    The video, or the part from `start` to `end`, is cut into `frames` segments of equal length, and
    the frame on screen in the middle of each is taken; at a constant rate this is the middle frame
    of each. Only the packets from the keyframe before a sampled frame up to that frame are decoded,
    and only the sampled frames are kept: memory is ``frames * H * W * 3`` bytes, whatever the
    length of the video.

    Args:
        path: a video file.
        frames: how many frames to return, at least 1. A video with fewer repeats some. With `fps`,
            the most; None then: as many as it gives.
        backend: ``"pyav"``, ``"torchcodec"``, ``"decord"``, or ``"auto"``: the first of these that
            is installed, opens the file and decodes every sampled frame; if none decodes them all,
            the one that loses the fewest. `Clip.notes` says which was used and why no earlier one.
            decord returns wrong frames where frames are stored out of order (HEVC with open GOPs,
            MPEG-4 with B-frames, MPEG-TS), so it comes last.
        sampling: ``"centers"``, as above, or ``"ends"``, as the original Video-LLaVA: by count, the
            first frame, the last, and even steps between.
        start, end: the part to read, in seconds since the first frame; None: from the first frame,
            to the end of the last. `Clip.timestamps` stay those of the whole video.
        fps: how many frames a second of the video to return, rounded to a whole number of frames;
            they are then spread evenly, as above.
        num_threads: decoding threads; by default one per CPU, at most 8.

    Returns:
        A `Clip`: frames uint8 ``[frames, H, W, 3]`` RGB, upright, with the time and index of each.
        A frame that cannot be decoded is replaced by the nearest one that can; `Clip.notes` says
        how many were, and `Clip.indices` and `Clip.timestamps` are those of the frame shown.

    Raises:
        VideoError: no such file, not a video, no frame that can be decoded, no decoder installed,
            more frames than fit into memory, a `start` or `end` beyond its end, an `fps` that gives
            no frame.
        TypeError: `path`, `frames`, `start`, `end`, `fps` or `num_threads` has the wrong type.
        ValueError: one of them, `sampling` or `backend` is out of range, or `end` is not after
            `start`.
    """
    path = _check_path(path)
    part = Part(start, end, fps)
    part.check("read_video")
    if frames is not None or fps is None:
        frames = check_frames(frames, function="read_video")  # type: ignore[arg-type]
    threads = default_threads()
    if num_threads is not None:
        threads = check_frames(num_threads, function="read_video", name="num_threads")
    check_reading(backend, sampling, "read_video")
    check_video_file(path)

    best: Clip | None = None
    lost: dict[str, int] = {}  # by backend that could decode something
    unusable: dict[str, Exception] = {}
    for name in BACKENDS if backend == "auto" else (backend,):
        try:
            clip, lost[name] = _decode(name, path, frames, sampling, part, threads)
        except (BackendMissing, BackendFailure) as error:
            unusable[name] = error
            continue
        if best is None or lost[name] < lost[best.backend]:
            best = clip
        if not lost[name]:
            break
    if best is None:
        raise VideoError(_why_unreadable(path, unusable))

    notes = [f"{name} was not used: {reason}" for name, reason in unusable.items()]
    notes += [
        f"{name} was not used: it could not decode {count} of {len(best)} frames"
        for name, count in lost.items()
        if name != best.backend
    ]
    notes += _ignored_traits(best.backend, path)
    if missing := missing_bytes(path):
        notes.append(f"the file is truncated: {missing:,} bytes are missing at its end")
    return replace(best, notes=(*notes, *best.notes))


def _decode(
    name: str, path: str, most: int | None, sampling: str, part: Part, num_threads: int
) -> tuple[Clip, int]:
    """The clip as one backend reads it, and how many of its frames that backend has lost."""
    # An absolute path: in any other, FFmpeg takes what is before a colon for a protocol.
    stream = load_backend(name).open_stream(os.path.abspath(path), num_threads)
    try:
        since, until = part.within(stream.duration, path)
        frames, capped = part.frames(most, until - since, path)
        indices, available = _sample(stream, frames, sampling, since, until)  # [T]
        # Each frame is decoded once and stands in the slots first[k]:last[k] of the clip.
        wanted, first = np.unique(indices, return_index=True)
        last = np.append(first[1:], frames)
        images, seconds, before = None, np.empty(frames), -math.inf
        decoded = np.zeros(frames, dtype=bool)
        for found, begin, end in zip(stream.decode(wanted.tolist()), first, last, strict=True):
            if found is None:
                continue
            image, when = found
            if when <= before:
                raise BackendFailure("it loses its place in this file and repeats frames")
            before = when
            if images is None:
                images = _allocate(frames, image.shape, path)
            elif image.shape != images.shape[1:]:
                raise BackendFailure("it cannot follow a stream whose frames change size")
            images[begin:end] = image
            seconds[begin:end] = when - stream.start
            decoded[begin:end] = True
        if images is None:
            raise BackendFailure(f"it could not decode any of {len(wanted)} frames")

        notes = [*stream.notes(), *([] if capped is None else [capped])]
        segment = (until - since) / frames
        notes += _timing_notes(name, stream, indices, seconds, decoded, available, segment)
        lost = np.flatnonzero(~decoded)
        if len(lost):
            kept = np.flatnonzero(decoded)
            nearest = kept[_nearest(_places(stream, indices), lost, kept)]
            for slot, source in zip(lost, nearest, strict=True):
                images[slot] = images[source]
            seconds[lost], indices[lost] = seconds[nearest], indices[nearest]
            notes.append(
                f"{len(lost)} of {frames} frames could not be decoded; the nearest decoded frame "
                f"was used for {_ranges(lost)}"
            )
        clip = Clip(
            frames=images,
            timestamps=seconds,
            indices=indices,
            fps=stream.fps,
            duration=stream.duration,
            backend=name,
            path=path,
            notes=tuple(notes),
            start=since,
            end=until,
        )
        return clip, len(lost)
    finally:
        stream.close()


def _sample(
    stream: VideoStream, frames: int, sampling: str, begin: float, end: float
) -> tuple[np.ndarray, int]:
    """int64 ``[frames]``: by time, or by count where that is asked or no times are told; and how
    many frames there are to choose from."""
    starts, count, duration = stream.starts, stream.count, stream.duration
    if begin > 0 or end < duration:
        return sample_part(starts, count, duration, frames, sampling, begin, end)
    if sampling == "ends":
        return sample_ends(count, frames), count
    if starts is None:
        return sample_indices(count, frames), count
    return sample_on_screen(starts, duration, frames), count


def _places(stream: VideoStream, indices: np.ndarray) -> np.ndarray:
    """Where the frames at `indices` lie: in frames at a constant rate, else in seconds."""
    if stream.starts is None or has_constant_rate(stream.starts, stream.duration):
        return indices
    return stream.starts[indices]


def _nearest(places: np.ndarray, lost: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """For each lost slot which of the kept ones lies nearest; the earlier one wins a tie."""
    return np.abs(places[lost, None] - places[kept]).argmin(axis=1)  # [lost, kept]


def _timing_notes(
    name: str,
    stream: VideoStream,
    indices: np.ndarray,
    seconds: np.ndarray,
    decoded: np.ndarray,
    available: int,
    segment: float,
) -> Iterator[str]:
    """Notes on a video with few frames, or with unevenly spaced frames.

    Args:
        available: frames of the part that is sampled.
        segment: seconds that a sampled frame stands for.
    """
    frames = len(indices)
    if available < frames:
        what = "the video" if available == stream.count else "that part of the video"
        yield f"{what} has {available} frames, {frames} were asked for: some are repeated"
    if stream.starts is None:
        expected = indices[decoded] * (stream.duration / stream.count)
        if (np.abs(seconds[decoded] - expected) > stream.duration / stream.count).any():
            yield (
                f"{name} does not tell when frames are shown: they were taken by count. Their "
                "times are not those of an even rate: it varies, or other frames came than were "
                "asked for"
            )
    elif available >= frames and (np.diff(indices) == 0).any():
        held = np.unique(indices[1:][np.diff(indices) == 0])
        ends = np.append(stream.starts[1:], stream.duration)
        spans = [f"from {stream.starts[k]:.1f} to {ends[k]:.1f} s" for k in held[:_MOST]]
        spans += ["..."] * (len(held) > _MOST)
        yield (
            f"frames that stay on screen for longer than a segment ({segment:.1f} "
            f"s) are repeated: {', '.join(spans)}"
        )


def _ignored_traits(name: str, path: str) -> list[str]:
    """What PyAV knows of how the file is to be shown, and the decoder `name` does not do."""
    if name == "pyav":
        return []
    try:
        traits = load_backend("pyav").traits_of(os.path.abspath(path))
    except BackendMissing:
        return []
    return [] if traits is None else traits.ignored_by(name)


def _allocate(frames: int, shape: tuple[int, ...], path: str) -> np.ndarray:
    """uint8 ``[frames, H, W, 3]``, unless this machine could never hold it."""
    height, width, _ = shape
    need = frames * math.prod(shape)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if need > have:
            raise VideoError(
                f"{path}: {frames:,} frames of {width}x{height} need {need / 1e9:,.0f} GB of "
                f"memory, this machine has {have / 1e9:,.0f} GB: ask for fewer frames"
            )
    return np.empty((frames, *shape), dtype=np.uint8)


def _check_path(path: str | os.PathLike) -> str:
    """`path` as a string."""
    if isinstance(path, (str, os.PathLike)):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise TypeError(f"read_video: path must be a str or Path, got {type(path).__name__}")
    return path


def check_reading(backend: Any, sampling: Any, function: str) -> None:
    """Say what is wrong with how a video is to be read, before one is opened.

    Raises:
        ValueError: no such decoder, or no such way to sample.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise ValueError(
            f"{function}: backend must be auto, {', '.join(BACKENDS)}, got {backend!r}"
        )
    if sampling not in SAMPLINGS:
        raise ValueError(f"{function}: sampling must be {' or '.join(SAMPLINGS)}, got {sampling!r}")


def check_video_file(path: str) -> None:
    """Says what is wrong with a path that is not a nonempty file, without decoding anything.

    Raises:
        VideoError: no such file, a directory, not readable, empty, or text.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"cannot open video {path!r}: {reason}") from error
    if stat.S_ISDIR(mode):
        raise VideoError(f"cannot open video {path!r}: it is a directory")
    if not stat.S_ISREG(mode):
        raise VideoError(f"cannot open video {path!r}: it is not a regular file")
    if not os.access(path, os.R_OK):
        raise VideoError(f"cannot open video {path!r}: permission denied")
    if os.path.getsize(path) == 0:
        raise VideoError(f"cannot read video {path!r}: the file is empty")
    if looks_like_text(path):
        raise VideoError(f"cannot read video {path!r}: it is a text file")


def _why_unreadable(path: str, unusable: dict[str, Exception]) -> str:
    """One line: what is wrong with the file if its bytes tell, and what each backend said."""
    if all(isinstance(error, BackendMissing) for error in unusable.values()):
        reasons = "; ".join(f"{name}: {error}" for name, error in unusable.items())
        return f"cannot read video {path!r}: no decoder for it ({reasons})"
    if missing := missing_bytes(path):
        cause = f"it is truncated, {missing:,} bytes are missing at its end"
    else:
        cause = "no decoder can read it"
    reasons = "; ".join(f"{name}: {error}" for name, error in unusable.items())
    return f"cannot read video {path!r}: {cause} ({reasons})"


def _ranges(slots: np.ndarray, most: int = _MOST) -> str:
    """Ascending numbers in words: "3, 7-9"; "..." after `most` ranges."""
    runs = np.split(slots, np.flatnonzero(np.diff(slots) > 1) + 1)
    words = [f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return ", ".join(words[:most] + ["..."] * (len(words) > most))
