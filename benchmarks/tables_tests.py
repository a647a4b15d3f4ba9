"""What is right, for the pages: releases of transformers, a trained decoder, CUDA kernels."""

from __future__ import annotations

import re

from tables_common import ZEN5, load, paragraph, table

RELEASES = "docs/transformers_matrix"
SHARED_MEMORY = "docs/shared_memory"
INSTRUCTIONS = "docs/cuda_instructions"
CPU_INSTRUCTIONS = "docs/cpu_instructions"
LOOPS = {
    "prefill": "prefill",
    "decode_keys": "decode, keys",
    "decode_values": "decode, values",
    "packed_keys": "decode, keys of 4 bits",
}


def releases() -> str:
    rows = []
    for release, row in load(RELEASES).items():
        skipped = "; ".join(f"{count}: {why}" for why, count in row["skipped"].items())
        failed = f"{len(row['failed'])}: {', '.join(row['failed'])}" if row["failed"] else "0"
        rows.append((release, str(row["passed"]), failed, skipped, row["date"]))
    return table(("transformers", "passed", "failed", "skipped there, and why", "on"), rows)


def range_of_releases() -> str:
    """The ends, and how many were tried."""
    found = list(load(RELEASES))
    tested = f"[{len(found)} releases tested](docs/transformers.md#which-transformers)"
    return f"{found[0]} to {found[-1]}, {tested}"


def shared_memory() -> str:
    rows = [
        (kernel, head_dim, str(size))
        for kernel, sizes in load(SHARED_MEMORY).items()
        for head_dim, size in sizes.items()
    ]
    return table(("kernel", "head_dim", "bytes"), rows)


def cuda_instructions() -> str:
    """For each product, in all, and the edge tile beside the full one."""
    rows = []
    for row in load(INSTRUCTIONS)["kernels"]:
        kernel, head_dim = re.fullmatch(r"(\w+)_kernel<\w+, (\d+)>", row["kernel"]).groups()
        products, full, edge = row["products"], row["full"], row["edge"]
        tiles = (f"{count / products:.2f} ({count})" for count in (full, edge))
        cells = (*tiles, f"{edge / full:.2f}", str(row["rebase"]))
        rows.append((kernel, head_dim, str(products), *cells))
    head = ("kernel", "head_dim", "products", "full tile", "edge tile", "edge / full", "new base")
    return table(head, rows)


def cuda_instructions_compiler() -> str:
    found = load(INSTRUCTIONS)
    return f"{found['architecture']}, nvcc {found['nvcc']}"


def cpu_instructions() -> str:
    """For each instruction that multiplies and adds, in all, and what it multiplies."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in load(CPU_INSTRUCTIONS)["loops"]:
        products = row["products"]
        cell = f"{row['instructions'] / products:.2f} ({row['multiply_adds'] // products})"
        cells.setdefault((LOOPS[row["loop"]], row["type"]), {})[row["level"]] = cell
    levels = list(next(iter(cells.values())))
    rows = [(*key, *(by_level[level] for level in levels)) for key, by_level in cells.items()]
    return table(("loop", "type", *(f"`{level}`" for level in levels)), rows)


def cpu_instructions_compiler() -> str:
    found = load(CPU_INSTRUCTIONS)["gcc"]
    versions = sorted(set(found.values()))
    return f"GCC {' and '.join(versions)}"


def real_decoder() -> str:
    found = load(f"{ZEN5}/real_decoder")
    exact, rounded = found["results"]
    return paragraph(
        f"**A trained decoder.** {found['model']} reads {exact['prompt']} tokens, more than its "
        f"window, and writes on. In float32, {exact['equal_tokens']} of {exact['tokens']} greedy "
        f"tokens are those of sdpa, and logits of up to {exact['largest_logit']:.0f} differ by "
        f"{exact['error']:.0e} at most. In bfloat16, {rounded['equal_tokens']} of "
        f"{rounded['tokens']} tokens are those of sdpa; against float32, its logits are off by up "
        f"to {rounded['stock_error']:.1f} and ours by {rounded['error']:.1f} "
        "(`benchmarks/bench_real_decoder.py`)."
    )


BLOCKS = {
    "transformers": releases,
    "transformers-range": range_of_releases,
    "shared-memory": shared_memory,
    "cuda-instructions": cuda_instructions,
    "cuda-instructions-compiler": cuda_instructions_compiler,
    "cpu-instructions": cpu_instructions,
    "cpu-instructions-compiler": cpu_instructions_compiler,
    "real-decoder": real_decoder,
}
