"""What the figures were measured on, and how fast it can copy, read and multiply."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import processor
import psutil
import torch
import transformers
from harness import CacheFlush, Summary, time_once

import intp_ext

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ("csrc", "intp_ext", "setup.py", "benchmarks/*.py", "benchmarks/*.cpp")
INSTRUCTION_SETS = ("avx2", "f16c", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
REPEATS = 11

Copy = Callable[[torch.Tensor, torch.Tensor], object]  # to, from: contiguous, of the same size


def describe(device: torch.device) -> dict:
    """The machine, the software and the command, ready for JSON."""
    build = intp_ext.build_info()
    cpu = _cpuinfo()
    facts = {
        "cpu": {
            "model": cpu.get("model name", platform.processor() or platform.machine()),
            # of one name there are several generations: AMD's 25 is Zen 4 (or 3), 26 is Zen 5
            "family": cpu.get("cpu family"),
            "cores": psutil.cpu_count(logical=False) or os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "instruction_sets": [name for name in INSTRUCTION_SETS if name in cpu.get("flags", [])],
            "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        },
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "intp_ext": {
            key: build[key] for key in ("version", "commit", "cpu_level", "compiler", "nvcc")
        },
        "forced_cpu_level": os.environ.get("INTP_EXT_CPU"),
        "commit": commit(),
        "command": command(sys.argv),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load_at_start": os.getloadavg()[0],
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "l2_mib": properties.L2_cache_size / 2**20,
            "cuda": torch.version.cuda,
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        }
    return facts


def command(arguments: Sequence[str]) -> str:
    """As it was typed, without the folders of this machine: a path inside the sources is told from
    their root, any other by its name."""
    words = [Path(sys.executable).name]
    for word in arguments:
        path = Path(word)
        if path.is_absolute():
            inside = path.is_relative_to(ROOT)
            word = str(path.relative_to(ROOT)) if inside else path.name
        words.append(word)
    return " ".join(words)


def commit() -> str | None:
    """Of the sources that are measured, "+changes" where they differ from it.

    Outside a checkout: INTP_EXT_COMMIT, or None.
    """
    head = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    if head is None:
        return os.environ.get("INTP_EXT_COMMIT")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", *MEASURED)
    return f"{head}+changes" if changed else head


def _output(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _read(path: str) -> str | None:
    return Path(path).read_text().strip() if Path(path).exists() else None


def _cpuinfo() -> dict:
    text = _read("/proc/cpuinfo") or ""
    facts = dict(re.findall(r"^([^\t:]+)\t*: (.*)$", text.split("\n\n")[0], re.M))
    facts["flags"] = (facts.get("flags") or facts.get("Features") or "").split()
    return facts


def copy_methods(device: torch.device, threads: int) -> dict[str, Copy]:
    """Ways to copy without a kernel of ours, by name."""
    methods: dict[str, Copy] = {"copy_": lambda to, source: to.copy_(source)}
    if device.type == "cpu":
        pool = ThreadPoolExecutor(threads)

        def memmove(to: torch.Tensor, source: torch.Tensor) -> None:
            share = -(-source.nbytes // threads)

            def part(begin: int) -> None:
                size = min(share, source.nbytes - begin)
                ctypes.memmove(to.data_ptr() + begin, source.data_ptr() + begin, size)

            list(pool.map(part, range(0, source.nbytes, share)))

        methods["memmove"] = memmove
    return methods


def peaks(device: torch.device, threads: int, mib: int) -> tuple[dict, Copy]:
    """Rates on buffers of ``mib`` with ``threads``, which torch is set to; and the fastest copy."""
    source, target = (torch.ones(mib << 18, dtype=torch.float32, device=device) for _ in range(2))
    flush = CacheFlush(device)

    def rate(amount: float, run: Callable[[], object]) -> float:
        run()
        taken = []
        for _ in range(REPEATS):
            flush()
            taken.append(time_once(run, device))
        return amount / Summary.of(taken).median / 1e9

    methods = copy_methods(device, threads)
    copies = {
        name: rate(2 * source.nbytes, lambda method=method: method(target, source))
        for name, method in methods.items()
    }
    fastest = max(copies, key=copies.__getitem__)
    found = {
        "threads": threads,
        "buffer_mib": mib,
        "copy_gb_per_s": copies,
        "fastest_copy": fastest,
        "read_gb_per_s": rate(source.nbytes, source.amax),
    }
    if device.type == "cpu":
        found |= processor.limits(source, threads)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a, b = (torch.randn(1024, 1024).to(dtype) for _ in range(2))
            found[f"matmul_{name}_gflop_per_s"] = rate(2 * 1024**3, lambda a=a, b=b: a @ b)
    if device.type == "cuda":
        a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
        found["matmul_bf16_tflop_per_s"] = rate(2 * 8192**3, lambda: a @ b) / 1e3
    return found, methods[fastest]
