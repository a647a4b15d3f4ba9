"""Instructions of the main loops of the attention kernels, for each product on the tensor cores.

    python3 csrc/cuda/loop_instructions.py --check       # exit code 1 if a count has changed, named
    python3 csrc/cuda/loop_instructions.py --write       # to docs/cuda_instructions.json

Compiles the kernels for the oldest architecture and counts what ptxas made of them: this needs no
GPU and says nothing of speed. nvdisasm is in the package nvidia-cuda-nvdisasm. Of each kernel, the
smallest loop with the most products (HMMA) is taken, and two ways through one of its turns:

  full    the shortest with all products and copies: each row sees every key of the tile
  edge    the longest with them: rows see some of the keys that are used and that are copied

both without what happens to few tiles (RARE): sums brought to a larger base, which is counted apart
as `rebase`, a softcap, and scores so large that they are rounded once scaled. A loop inside the
loop counts as one turn of it; the kernel over packed keys is left out, as the turns of
its inner loops are known only when it runs. The counts are those of one nvcc: where there is
another, --check compares nothing and says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

from kernel_table import names

CSRC = Path(__file__).resolve().parents[1]
COUNTS = CSRC.parent / "docs/cuda_instructions.json"
ARCHITECTURE = "80"
SOURCES = ("prefill_bf16", "decode_bf16")  # float16 differs in no count
REBASE = "bring_to_largest"
RARE = {"fragments.h": ("cap_scores", "weigh_large", REBASE)}

SECTION = re.compile(r"\t\.section\s+\.text\.(\S+?),")
LABEL = re.compile(r"(\.L_x_\d+):")
LINE = re.compile(r'\s+//## File "([^"]*)", line (\d+)')
CODE = re.compile(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;")
NAME = re.compile(r"(?:@!?U?P\w+\s+)?(\w+)")
JUMP = re.compile(r"(?P<if>@!?U?P\w+\s+)?(?P<name>BRA|EXIT|RET)\b\S*\s*(?P<to>.*)")


@dataclass
class Instruction:
    text: str
    rare: str | None  # the function of RARE that it is from

    @property
    def name(self) -> str:
        found = NAME.match(self.text)
        assert found, self.text
        return found[1]


@dataclass
class Kernel:
    """Basic blocks, and the numbers of those that may follow each."""

    symbol: str
    blocks: list[list[Instruction]]
    following: list[list[int]]


@dataclass(frozen=True)
class Count:
    """Of one turn of a kernel's main loop."""

    kernel: str
    products: int
    full: int
    edge: int
    rebase: int


@cache
def rare_lines() -> dict[tuple[str, int], str]:
    """(file, line) of RARE functions, behind the conditions that they begin with."""
    found: dict[tuple[str, int], str] = {}
    for file, functions in RARE.items():
        lines = (CSRC / "attention/cuda" / file).read_text().splitlines()
        for function in functions:
            begins = re.compile(rf" *INTP_DEVICE .*\b{function}\(")
            first = next(n for n, line in enumerate(lines) if begins.match(line))
            indent = len(lines[first]) - len(lines[first].lstrip())
            last = lines.index(" " * indent + "}", first)
            loop = next(n for n in range(first, last) if " for (" in lines[n])
            found |= {(file, n + 1): function for n in range(loop, last)}
    return found


def kernels(listing: str) -> Iterator[Kernel]:
    """From what nvdisasm -c -gi writes: instructions after the lines that they come from."""
    for part in listing.split("\t.section\t")[1:]:
        section = SECTION.match("\t.section\t" + part)
        if not section:
            continue
        code: list[Instruction] = []
        labels: dict[str, int] = {}
        place: set[tuple[str, int]] = set()
        begins = False  # a new place
        for line in part.splitlines():
            if found := LABEL.match(line):
                labels[found[1]] = len(code)
            elif found := LINE.match(line):
                place = place if begins else set()
                place.add((Path(found[1]).name, int(found[2])))
                begins = True
            elif found := CODE.match(line):
                rare = place & rare_lines().keys()
                code.append(Instruction(found[1], rare_lines()[min(rare)] if rare else None))
                begins = False
        yield control_flow(section[1], code, labels)


def control_flow(symbol: str, code: Sequence[Instruction], labels: dict[str, int]) -> Kernel:
    jumps = [JUMP.match(instruction.text) for instruction in code]
    starts = {0, len(code), *labels.values(), *(n + 1 for n, jump in enumerate(jumps) if jump)}
    ends = sorted(starts)
    number = {begin: n for n, begin in enumerate(ends)}
    kernel = Kernel(symbol, [], [])
    for begin, end in itertools.pairwise(ends):
        following, jump = [number[end]], jumps[end - 1]
        if jump:
            *conditions, to = jump["to"].strip("`()").split(", ")
            if not jump["if"] and not conditions:
                following = []
            # .DIV: what a warp does only whose lanes have parted
            if jump["name"] == "BRA" and ".DIV" not in code[end - 1].text:
                following.append(number[labels[to.strip("`()")]])
        kernel.blocks.append(list(code[begin:end]))
        kernel.following.append([n for n in following if n < len(ends) - 1])
    return kernel


def count_of(block: Iterable[Instruction], name: str) -> int:
    return sum(instruction.name == name for instruction in block)


def main_loop(kernel: Kernel) -> tuple[int, set[int]] | None:
    """First block and all blocks of the smallest loop with the most products; None without any."""
    before: list[list[int]] = [[] for _ in kernel.blocks]
    for n, following in enumerate(kernel.following):
        for to in following:
            before[to].append(n)
    best, found = (0, 0), None
    for head in range(len(kernel.blocks)):
        loop, todo = {head}, [n for n in before[head] if n >= head]
        while todo:
            n = todo.pop()
            if n not in loop:
                loop.add(n)
                todo += before[n]
        if 0 in loop or (len(loop) == 1 and head not in kernel.following[head]):
            continue  # from the beginning one enters a loop at its head
        products = sum(count_of(kernel.blocks[n], "HMMA") for n in loop)
        length = sum(len(kernel.blocks[n]) for n in loop)
        if products and (products, -length) > best:
            best, found = (products, -length), (head, loop)
    return found


def turn(
    kernel: Kernel, head: int, loop: set[int], shortest: bool, with_rare: Sequence[str] = ()
) -> tuple[int, int]:
    """Products and instructions of a way from the head of the loop back to it."""

    def is_open(n: int) -> bool:
        rare = [i.rare for i in kernel.blocks[n] if i.name != "BSYNC"]  # where ways meet again
        closed = sum(name is not None and name not in with_rare for name in rare)
        return n in loop and 2 * closed <= len(rare)

    order: list[int] = []  # each after all that may follow it
    seen: set[int] = set()

    def visit(n: int) -> None:
        seen.add(n)
        for to in kernel.following[n]:
            if is_open(to) and to not in seen:
                visit(to)
        order.append(n)

    visit(head)
    rank = {n: r for r, n in enumerate(order)}
    best: dict[int, tuple[int, int, int]] = {}  # products, copies, instructions to the end
    for n in order:
        ways = [(0, 0, 0)] if head in kernel.following[n] else []
        ways += [
            best[to] for to in kernel.following[n] if rank.get(to, rank[n]) < rank[n] and to in best
        ]
        if not ways:
            continue
        products, copies, length = max(ways)
        block = kernel.blocks[n]
        best[n] = (
            products + count_of(block, "HMMA"),
            copies + count_of(block, "LDGSTS"),
            length + len(block) * (-1 if shortest else 1),
        )
    products, _, length = best[head]
    return products, abs(length)


def counts(listing: str) -> list[Count]:
    found = []
    for kernel in kernels(listing):
        if loop := main_loop(kernel):
            products, full = turn(kernel, *loop, shortest=True)
            _, edge = turn(kernel, *loop, shortest=False)
            _, most = turn(kernel, *loop, shortest=False, with_rare=[REBASE])
            found.append(Count(kernel.symbol, products, full, edge, most - edge))
    named = names([count.kernel for count in found])
    counts = [replace(count, kernel=name) for count, name in zip(found, named, strict=True)]
    return sorted(counts, key=lambda count: [int(n) for n in re.findall(r"\b\d+", count.kernel)])


def version(nvcc: str) -> str:
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d[\d.]+)", said)[1]


def listing(source: str, nvcc: str, nvdisasm: str, folder: Path) -> str:
    """The machine code of csrc/attention/cuda/SOURCE.cu, with the lines that it comes from."""
    torch = importlib.util.find_spec("torch")
    if torch is None:
        raise SystemExit(
            "loop_instructions: expected torch, whose headers are compiled, found none"
        )
    facts = json.loads((CSRC / "build_facts.json").read_text())
    path = CSRC / f"attention/cuda/{source}.cu"
    cubin = folder / f"{source}.cubin"
    subprocess.run(
        [
            nvcc, "-std=c++17", "-O3", "-lineinfo", f"-I{CSRC}",
            "-isystem", f"{Path(torch.origin).parent}/include",
            f"-DTORCH_TARGET_VERSION={facts['torch_stable_abi']}",
            f"-arch=sm_{ARCHITECTURE}", "-cubin", str(path), "-o", str(cubin),
        ],
        check=True,
    )  # fmt: skip
    disassemble = [nvdisasm, "-c", "-gi", str(cubin)]
    return subprocess.run(disassemble, capture_output=True, text=True, check=True).stdout


def changes(recorded: Sequence[dict], found: Sequence[dict]) -> list[str]:
    """What --check says of each kernel that is not as recorded."""
    before, now = ({row["kernel"]: row for row in rows} for rows in (recorded, found))
    said = [f"{name}: is gone" for name in before.keys() - now.keys()]
    said += [f"{name}: is new" for name in now.keys() - before.keys()]
    for name in before.keys() & now.keys():
        for what in ("products", "full", "edge", "rebase"):
            old, new = before[name][what], now[name][what]
            if old != new:
                said.append(f"{name}, {what}: {'grew' if new > old else 'shrank'}, {old} to {new}")
    return sorted(said)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--check", action="store_true")
    act.add_argument("--write", action="store_true")
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc", path=f"{home}/bin") or shutil.which("nvcc")
    parser.add_argument("--nvcc", default=nvcc, help="default: of CUDA_HOME, or in PATH")
    parser.add_argument("--nvdisasm", default=shutil.which("nvdisasm"), help="default: in PATH")
    options = parser.parse_args(argv)
    for name in ("nvcc", "nvdisasm"):
        if getattr(options, name) is None:
            parser.error(f"--{name}: found none")

    release = version(options.nvcc)
    recorded = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    if options.check and recorded["nvcc"] != release:
        print(f"SKIPPED: counted with nvcc {recorded['nvcc']}, here is {release}")
        return 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        compile_one = partial(
            listing, nvcc=options.nvcc, nvdisasm=options.nvdisasm, folder=Path(folder)
        )
        listings = pool.map(compile_one, SOURCES)
        found = [asdict(count) for text in listings for count in counts(text)]
    if options.write:
        report = {"nvcc": release, "architecture": f"sm_{ARCHITECTURE}", "kernels": found}
        COUNTS.write_text(json.dumps(report, indent=1) + "\n")
        return 0
    said = changes(recorded["kernels"], found)
    print("\n".join(said) or f"{len(found)} kernels, none has changed")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
