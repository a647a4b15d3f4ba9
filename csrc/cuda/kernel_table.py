"""Registers, shared memory and spills of every CUDA kernel, from the logs of nvcc -Xptxas -v.

    python3 csrc/cuda/kernel_table.py LOG...

Exit code 1 if a kernel spills registers or keeps an array of a thread in memory (what an index that
the compiler does not know makes of registers), or if there are too many kernels. Shared memory is
what the kernel declares; what a launch of attention asks for is in docs/cuda.md.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Each for every architecture: a build stays a matter of minutes. 32 are without the KV cache, whose
# codes take a kernel a width: how many tokens share a byte decides which registers hold what.
MOST_KERNELS = 52

ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>\w+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.S,
)


@dataclass(frozen=True)
class Kernel:
    symbol: str
    arch: str
    registers: int
    shared: int  # bytes
    stack: int  # bytes of a thread
    spilled: int  # bytes of a thread, stores and loads


def kernels(log: str) -> Iterator[Kernel]:
    for found in ENTRY.finditer(log):
        shared = re.search(r"(\d+) bytes smem", found["rest"])
        yield Kernel(
            symbol=found["symbol"],
            arch=found["arch"],
            registers=int(found["registers"]),
            shared=int(shared[1]) if shared else 0,
            stack=int(found["stack"]),
            spilled=int(found["stores"]) + int(found["loads"]),
        )


def names(symbols: Sequence[str]) -> list[str]:
    """As in the source, without namespaces and parameters."""
    found = subprocess.run(
        ["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for pattern in (r"^void ", r"\(anonymous namespace\)::", r"\b\w+::", r"\([^()]*\)$"):
        found = [re.sub(pattern, "", name) for name in found]
    return found


def table(found: Sequence[Kernel]) -> str:
    rows = [("kernel", "for", "registers", "shared", "stack", "spilled")]
    for name, kernel in zip(names([kernel.symbol for kernel in found]), found, strict=True):
        counts = (kernel.registers, kernel.shared, kernel.stack, kernel.spilled)
        rows.append((name, kernel.arch, *map(str, counts)))
    rows[1:] = sorted(rows[1:])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def main(paths: Sequence[str]) -> int:
    found = [kernel for path in paths for kernel in kernels(Path(path).read_text())]
    if not found:
        print("no kernel in the logs", file=sys.stderr)
        return 1
    print(table(found))
    in_memory = sum(kernel.spilled > 0 or kernel.stack > 0 for kernel in found)
    print(f"{len(found)} kernels, {in_memory or 'none'} of them with registers in memory")
    count = len({kernel.symbol for kernel in found})
    if count > MOST_KERNELS:
        print(f"expected at most {MOST_KERNELS} kernels, got {count}", file=sys.stderr)
    return 1 if in_memory or count > MOST_KERNELS else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
