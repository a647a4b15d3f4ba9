"""Times contenders in rounds, each once a round, so that drift of the machine hits all alike."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

LEAST_REPEATS, MOST_REPEATS = 5, 101


@dataclass(frozen=True)
class Contender:
    """One way to compute the same thing.

    Args:
        name: unique within a case.
        run: does the work once and returns the output.
        against: the contender of ours with the same allocation (fresh or preallocated output) that
            it is compared with; None for our own.
        compiled: the first call compiles; its time is reported apart.
        same: its output must agree with ours; False where it computes more than is asked.
        optional: a backend that may refuse the case; then it is left out, with its reason.
    """

    name: str
    run: Callable[[], object]
    against: str | None = None
    compiled: bool = False
    same: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Summary:
    """Of repeats, in their own unit."""

    median: float
    q1: float
    q3: float
    min: float

    @staticmethod
    def of(values: Sequence[float]) -> Summary:
        q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
        return Summary(median, q1, q3, min(values))


@dataclass(frozen=True)
class Timing:
    """Seconds of every repeat, in the order of the rounds, and of the first call; and by how many
    MiB that call raised the peak of the process's memory (None where that is not known)."""

    seconds: tuple[float, ...]
    first_call: float
    first_call_mib: float | None = None

    def ratio_to(self, other: Timing) -> Summary:
        """How many times as long as ``other``, round by round."""
        return Summary.of([a / b for a, b in zip(self.seconds, other.seconds, strict=True)])


def cache_bytes(device: torch.device) -> int:
    """Size of the last-level cache."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    kib = (int(path.read_text().strip().rstrip("K")) for path in sizes)
    return max(kib, default=32 << 10) << 10


class CacheFlush:
    """Reads a buffer that displaces the last-level cache; leaves no dirty lines behind."""

    def __init__(self, device: torch.device) -> None:
        size = 2 * cache_bytes(device)
        if device.type == "cuda":
            size = max(
                size, 1 << 30
            )  # a quarter of a millisecond, to queue what is timed behind it
        self.buffer = torch.ones(size // 4, dtype=torch.int32, device=device)

    def __call__(self) -> None:
        self.buffer.max()


def time_once(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call. The output is freed after the clock has stopped."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        output = run()
        end.record()
        end.synchronize()
        seconds = start.elapsed_time(end) / 1e3
    else:
        begin = time.perf_counter()
        output = run()
        seconds = time.perf_counter() - begin
    del output
    return seconds


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Of one call on a CPU, after one that warms up."""
    cpu = torch.device("cpu")
    return statistics.median([time_once(run, cpu) for _ in range(repeats + 1)][1:])


def give_back_freed_memory() -> None:
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def run_for_peak(run: Callable[[], object]) -> float | None:
    """Runs once: MiB by which the resident memory rose at its highest; None where Linux does not
    say. Freed memory that the allocator still holds is given back first: a call that reuses it
    would seem to need none."""
    give_back_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except OSError:
        run()
        return None

    def mib(name: str) -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.split(f"{name}:")[1].split()[0]) / 1024

    before = mib("VmRSS")
    run()
    return max(0.0, mib("VmHWM") - before)


def interleave(
    contenders: Sequence[Contender], device: torch.device, seconds: float
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Runs every contender once per round from a cold cache, until about ``seconds`` have passed.

    Each round begins with another contender: none always follows the same neighbor. Returns the
    timings, and why the optional contenders that are not among them refused.
    """
    flush = CacheFlush(device)
    first_call, peak, refused = {}, {}, {}
    for contender in contenders:
        begin = time.perf_counter()
        try:
            peak[contender.name] = run_for_peak(contender.run)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        except Exception as error:  # each backend refuses in its own way
            if not contender.optional:
                raise
            refused[contender.name] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            first_call[contender.name] = time.perf_counter() - begin
    contenders = [contender for contender in contenders if contender.name not in refused]

    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}

    def play_round(first: int) -> None:
        for offset in range(len(contenders)):
            contender = contenders[(first + offset) % len(contenders)]
            flush()
            taken[contender.name].append(time_once(contender.run, device))

    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        play_round(0)  # the second warm-up, and how long a round takes
        round_seconds = time.perf_counter() - begin
        repeats = min(max(int(seconds / round_seconds), LEAST_REPEATS), MOST_REPEATS)
        for values in taken.values():
            values.clear()
        for number in range(repeats):
            play_round(number)
    finally:
        gc.enable()
    on_cpu = device.type == "cpu"
    timings = {
        name: Timing(tuple(values), first_call[name], peak[name] if on_cpu else None)
        for name, values in taken.items()
    }
    return timings, refused
