"""Instructions of the main loops of attention on the CPU, for each multiply-add in them.

    python3 csrc/cpu/loop_instructions.py --check       # exit code 1 if a count has changed, named
    python3 csrc/cpu/loop_instructions.py --write       # to docs/cpu_instructions.json

Compiles each loop as a function of its own (LOOPS) for the levels of x86-64 and of 64-bit Arm, by
g++ or its cross compiler, and counts in what objdump shows: no processor of those levels is needed,
and nothing is said of speed. The counts are those of two compilers: where there are others, --check
compares nothing and says so.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CSRC = Path(__file__).resolve().parents[1]
COUNTS = CSRC.parent / "docs/cpu_instructions.json"
TOOLS = {"x86_64": "x86_64-linux-gnu-", "aarch64": "aarch64-linux-gnu-"}  # prefixes of GNU's names
LEVELS = ("avx2", "avx512_bf16", "neon", "neon_bf16")

LOOPS = """
#include "attention/cpu/decode.h"
#include "attention/cpu/page_products.h"
#include "attention/cpu/product.h"

using namespace intp;
using namespace intp::cpu;

#define LOOP [[gnu::used, gnu::flatten]]

template <class T>
LOOP void prefill(int64_t depth, const ElementOf<T>* a, int64_t lda, const ElementOf<T>* b,
                  float* sums) {
  multiply_block<kRows, kColumns, false>(depth, a, lda, b, kTiles.panel, sums, kTiles.keys);
}
template <class T>
LOOP void decode_keys(const QueryRow<T>& query, const T* const (&keys)[kWidth], int64_t head_dim,
                      float* scores) {
  score_keys<1>(&query, keys, head_dim, {}, scores, 0);
}
template <class T>
LOOP void decode_values(const ElementOf<T>* weights, const Values<T>& values, float* sums) {
  add_values_block<1, 4, false>(weights, 0, values, {}, 0, 0, sums, 0);
}
template <class T>
LOOP void packed_keys(const Codes<T, 4>& codes, const uint8_t* page, const uint8_t* ahead,
                      int64_t head_dim, const typename Codes<T, 4>::Element* a,
                      const ProductTerms* terms, float* scores) {
  score_page<Codes<T, 4>, 4, 1>(codes, page, ahead, head_dim, a, 0, terms, scores, 0);
}

#define INSTANCES(T)                                                                              \\
  template void prefill<T>(int64_t, const ElementOf<T>*, int64_t, const ElementOf<T>*, float*);   \\
  template void decode_keys<T>(const QueryRow<T>&, const T* const (&)[kWidth], int64_t, float*);  \\
  template void decode_values<T>(const ElementOf<T>*, const Values<T>&, float*);                  \\
  template void packed_keys<T>(const Codes<T, 4>&, const uint8_t*, const uint8_t*, int64_t,       \\
                               const Codes<T, 4>::Element*, const ProductTerms*, float*);
INSTANCES(Float32)
INSTANCES(BFloat16)
"""
NAMES = ("prefill", "decode_keys", "decode_values", "packed_keys")
TYPES = {"Float32": "float32", "BFloat16": "bfloat16"}

SYMBOL = re.compile(r"[0-9a-f]+ <(.*)>:")
CODE = re.compile(r" *([0-9a-f]+):\t(\S+) *(.*)")
JUMP = re.compile(r"(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)$")
# what multiplies and adds, by the bytes of a register for each multiply-add
PRODUCTS = {
    4: re.compile(r"vfmadd\d+ps|fmla"),
    2: re.compile(r"vdpbf16ps|bfdot|vpmaddwd"),
    1: re.compile(r"bfmmla"),
}
REGISTER = re.compile(r"[xyz]mm|\bv\d+\.")
REGISTER_BYTES = {"zmm": 64, "ymm": 32, "xmm": 16}  # others: 16


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    @property
    def multiply_adds(self) -> int:
        for size, name in PRODUCTS.items():
            if name.fullmatch(self.name):
                register = REGISTER.search(self.operands)
                assert register, self.operands
                return REGISTER_BYTES.get(register[0], 16) // size
        return 0


@dataclass(frozen=True)
class Count:
    """Of one turn of a loop. `products`: instructions that multiply and add."""

    loop: str
    type: str
    level: str
    multiply_adds: int
    products: int
    instructions: int


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    """(demangled name, instructions) from what objdump -dC shows."""
    name = ""
    code: list[Instruction] = []
    for line in listing.splitlines():
        if found := SYMBOL.fullmatch(line):
            if code:
                yield name, code
            name, code = found[1], []
        elif found := CODE.match(line):
            code.append(Instruction(int(found[1], 16), found[2], found[3]))
    if code:
        yield name, code


def main_loop(code: Sequence[Instruction]) -> list[Instruction]:
    """Of the loops without a loop inside, the one with the most multiply-adds."""
    ranges = []
    for instruction in code:
        target = re.search(r"\b([0-9a-f]+) <", instruction.operands)
        if JUMP.match(instruction.name) and target and int(target[1], 16) <= instruction.address:
            ranges.append((int(target[1], 16), instruction.address))
    innermost = [
        (begin, end)
        for begin, end in ranges
        if not any(begin <= b and e <= end and (b, e) != (begin, end) for b, e in ranges)
    ]
    assert innermost, "a function without a loop"
    bodies = [[i for i in code if begin <= i.address <= end] for begin, end in innermost]
    return max(bodies, key=lambda body: (sum(i.multiply_adds for i in body), -len(body)))


def run(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def counts(level: str, machine: str, flags: Sequence[str], folder: Path) -> list[Count]:
    source, library = folder / "loops.cpp", folder / f"{level}.o"
    source.write_text(LOOPS)
    run(
        f"{TOOLS[machine]}g++", "-O3", "-std=c++17", "-DNDEBUG", "-fPIC", f"-I{CSRC}",
        f"-DINTP_CPU_TARGET={level}", *flags, "-c", str(source), "-o", str(library),
    )  # fmt: skip
    found = []
    for symbol, code in functions(
        run(f"{TOOLS[machine]}objdump", "-dC", "--no-show-raw-insn", str(library))
    ):
        named = re.match(r"void (\w+)<intp::cpu::.*?(\w+)>\(", symbol)
        if named is None or named[1] not in NAMES:
            continue
        loop = main_loop(code)
        each = [i.multiply_adds for i in loop]
        products = sum(n > 0 for n in each)
        found.append(Count(named[1], TYPES[named[2]], level, sum(each), products, len(loop)))
    assert len(found) == len(NAMES) * len(TYPES), found
    return found


def all_counts() -> list[Count]:
    found: list[Count] = []
    flags: dict[str, list[str]] = {machine: [] for machine in ("any", *TOOLS)}
    with tempfile.TemporaryDirectory() as folder:
        for target in json.loads((CSRC / "build_facts.json").read_text())["cpu_targets"]:
            machine = target["machine"]
            flags[machine] += target["flags"].split()  # and those of the levels before it
            if target["name"] in LEVELS:
                found += counts(target["name"], machine, flags[machine], Path(folder))
    types = list(TYPES.values())
    return sorted(
        found, key=lambda c: (NAMES.index(c.loop), types.index(c.type), LEVELS.index(c.level))
    )


def changes(recorded: Sequence[dict], found: Sequence[dict]) -> list[str]:
    """What --check says of each loop that is not as recorded."""

    def by_loop(rows: Sequence[dict]) -> dict[str, dict]:
        return {f"{row['loop']}, {row['type']}, {row['level']}": row for row in rows}

    before, now = by_loop(recorded), by_loop(found)
    said = [f"{name}: is gone" for name in before.keys() - now.keys()]
    said += [f"{name}: is new" for name in now.keys() - before.keys()]
    for name in before.keys() & now.keys():
        for what in ("multiply_adds", "products", "instructions"):
            old, new = before[name][what], now[name][what]
            if old != new:
                said.append(f"{name}, {what}: {old} before, {new} now")
    return sorted(said)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--check", action="store_true")
    act.add_argument("--write", action="store_true")
    options = parser.parse_args(argv)

    for prefix in TOOLS.values():
        for tool in (f"{prefix}g++", f"{prefix}objdump"):
            if shutil.which(tool) is None:
                parser.error(f"expected {tool} in PATH, found none")
    compilers = {
        machine: run(f"{prefix}g++", "-dumpfullversion").strip()
        for machine, prefix in TOOLS.items()
    }
    recorded = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    if options.check and recorded["gcc"] != compilers:
        print(f"SKIPPED: counted with GCC {recorded['gcc']}, here is {compilers}")
        return 0
    found = [asdict(count) for count in all_counts()]
    if options.write:
        COUNTS.write_text(json.dumps({"gcc": compilers, "loops": found}, indent=1) + "\n")
        return 0
    said = changes(recorded["loops"], found)
    print("\n".join(said) or f"{len(found)} loops, none has changed")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
