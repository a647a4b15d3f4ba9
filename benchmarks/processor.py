"""The limits of the processor, by peaks.cpp: arithmetic in registers, and reading memory."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

import intp_ext

HERE = Path(__file__).resolve().parent
REPEATS, ROUNDS = 11, 10_000_000


def level_flags(level: str) -> list[str]:
    """The compiler flags of an instruction set that the kernels are compiled for."""
    targets = json.loads((HERE.parent / "csrc/build_facts.json").read_text())["cpu_targets"]
    names = [target["name"] for target in targets]
    return " ".join(target["flags"] for target in targets[: names.index(level) + 1]).split()


@cache
def library() -> ctypes.CDLL:
    """peaks.cpp, compiled by CXX or g++ for the instruction set that the kernels run on.

    Raises:
        subprocess.CalledProcessError: the compiler failed.
    """
    compiler = os.environ.get("CXX", "g++").split()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peaks.so"
        level = level_flags(intp_ext.build_info()["cpu_level"])
        flags = ["-std=c++17", "-O3", *level, "-shared", "-fPIC"]
        command = [*compiler, *flags, f"-I{HERE.parent / 'csrc'}", str(HERE / "peaks.cpp")]
        subprocess.run([*command, "-o", str(path)], check=True)
        found = ctypes.CDLL(str(path))
    for name in ("fp32_flop", "bf16_flop"):
        getattr(found, name).restype = ctypes.c_int64
    return found


def best_rate(amount: float, threads: int, run: Callable[[int], object]) -> float:
    """``run(thread)`` on every thread at a time, the fastest of the repeats: 1e9 of amount a
    second."""
    with ThreadPoolExecutor(threads) as pool:
        taken = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            list(pool.map(run, range(threads)))
            taken.append(time.perf_counter() - begin)
    return amount / min(taken) / 1e9


def limits(buffer: torch.Tensor, threads: int) -> dict[str, float]:
    """GFLOP/s of multiply-adds and GB/s of reading ``buffer``, all threads together."""
    lib = library()
    found = {
        f"peak_{dtype}_gflop_per_s": best_rate(
            ROUNDS * threads * getattr(lib, f"{dtype}_flop")(),
            threads,
            lambda _, dtype=dtype: getattr(lib, dtype)(ctypes.c_int64(ROUNDS)),
        )
        for dtype in ("fp32", "bf16")
    }
    return {
        **found,
        "peak_read_gb_per_s": best_rate(
            buffer.nbytes, threads, lambda thread: read_part(buffer, thread, threads)
        ),
    }


def read_part(buffer: torch.Tensor, part: int, parts: int) -> None:
    """Reads one part of a dense tensor (but the last few bytes, fewer than 512 a part)."""
    share = buffer.nbytes // parts // 512 * 512
    library().read(ctypes.c_void_p(buffer.data_ptr() + part * share), ctypes.c_int64(share))


def reader(tensors: Sequence[torch.Tensor]) -> Callable[[], object]:
    """Reads dense tensors, whatever the order of their dimensions, by PyTorch's maximum on its
    threads: what no way around their memory can beat at this moment."""
    words = [torch.as_strided(x, (x.numel(),), (1,)).view(torch.int32) for x in tensors]
    return lambda: [x.amax() for x in words]
