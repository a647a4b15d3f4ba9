"""The contract between the reader and the decoders, which have one file each.

A backend module has one function, ``open_stream(path, num_threads) -> VideoStream``, and imports
its decoder inside it: nothing is imported until a video is read.
"""

import importlib
import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np

from ..reasons import in_one_line

__all__ = [
    "BACKENDS",
    "BackendFailure",
    "BackendMissing",
    "BackendStatus",
    "VideoStream",
    "backend_status",
    "check_utf8",
    "default_threads",
    "length_of",
    "load_backend",
]

BACKENDS = ("pyav", "torchcodec", "decord")
"""In the order in which ``backend="auto"`` tries them: the one most often right comes first.

decord 0.6.0 takes the number of a keyframe in the file for its number on screen, and so returns
other frames than were asked for wherever the two differ (HEVC with open GOPs, MPEG-4 with B-frames,
MPEG-TS); nothing it returns tells. It is no faster at sparse sampling either.
"""

_PACKAGES = {"pyav": "av", "torchcodec": "torchcodec", "decord": "decord"}  # as pip calls them


class BackendMissing(Exception):
    """The decoder is not installed, or is installed and does not load."""


class BackendFailure(Exception):
    """The decoder is there and could not open or decode this file."""


class VideoStream(Protocol):
    """One open video. Frames are numbered from 0 in presentation order; times are seconds."""

    count: int
    start: float  # when the first frame is shown, by the container's clock
    starts: np.ndarray | None  # float64 [count], seconds since the first; None: not available
    duration: float
    fps: float

    def decode(self, indices: Sequence[int]) -> Iterator[tuple[np.ndarray, float] | None]:
        """For each of the ascending, distinct `indices`: the frame, uint8 ``[H, W, 3]``, upright,
        and its time by the container's clock; None where it cannot be decoded."""

    def notes(self) -> list[str]:
        """What the decoder had to conceal, known once `decode` has run."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class BackendStatus:
    """Whether a decoder can be used here. `version` is None when it is not installed."""

    name: str
    package: str
    version: str | None
    problem: str | None

    @property
    def usable(self) -> bool:
        return self.problem is None


def load_backend(name: str) -> ModuleType:
    """The backend module, once its decoder has been imported.

    Raises:
        BackendMissing: with the reason, and what to install.
    """
    backend = importlib.import_module(f".{name}_backend", __package__)
    package = _PACKAGES[name]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise BackendMissing(f"{package} is installed but does not load: {error}") from error
        raise BackendMissing(f"not installed (pip install {package})") from error
    except (ImportError, OSError, RuntimeError) as error:
        cause = error.__cause__ or error  # torch hides which library is missing in the cause
        hint = getattr(backend, "LOAD_HINT", f"reinstall it with pip install {package}")
        raise BackendMissing(
            f"installed but does not load: {in_one_line(cause)}; {hint}"
        ) from error
    return backend


def backend_status(name: str) -> BackendStatus:
    """Imports the decoder and says whether it works, which version it is and what is missing."""
    package = _PACKAGES[name]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = None
    try:
        load_backend(name)
    except BackendMissing as error:
        return BackendStatus(name, package, version, str(error))
    return BackendStatus(name, package, version, None)


def default_threads() -> int:
    """Decoding gains little beyond eight threads and costs memory for each."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cpus or 1, 8)


def check_utf8(path: str) -> None:
    """For decoders that take a path as text.

    Raises:
        BackendFailure: its bytes are not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise BackendFailure("it takes no name that is not UTF-8: rename the file") from None


def length_of(starts: np.ndarray, told_end: float) -> float:
    """Seconds from the first frame to the end of the last, of frames that begin at `starts`.

    If the container does not tell the length of the last frame, the most common length is used.
    """
    if told_end > starts[-1] or len(starts) == 1:
        return max(told_end, 0.0)
    return float(starts[-1] + np.median(np.diff(starts)))
