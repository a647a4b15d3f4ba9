"""The tables of docs/operators.md, from the results: python benchmarks/tables.py FOLDER."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path


def label(case: dict) -> str:
    seen = f"window {case['window']}" if case["window"] else "causal"
    heads = f"{case['heads']}/{case['kv_heads']} heads"
    return f"{case['dtype']}, S {case['tokens']}, {heads}, D {case['head_dim']}, {seen}"


def ratio(rows: dict[str, dict], name: str) -> str:
    if name not in rows:
        return "-"
    row = rows[name]
    text = f"{row['times_as_long_as']['median']:.2f} x"
    if "goal" in row:
        goal = row["goal"]
        text += f" (goal {goal['times']}: {goal['needs_share_of_limit']:.0%} of the limit)"
    return text


def prefill(report: dict, threads: int) -> Iterator[str]:
    where = "one thread" if threads == 1 else f"{threads} threads"
    yield f"| prefill, {where} | ms | of the limit | SDPA flash, causal | FlexAttention |"
    yield "| --- | --- | --- | --- | --- |"
    for result in report["results"]:
        if result["threads"] != threads:
            continue
        rows = {row["name"]: row for row in result["contenders"]}
        ours = rows["intp_ext"]
        yield (
            f"| {label(result['case'])} | {ours['ms']['median']:.0f} "
            f"| {ours['share_of_limit']:.0%} | {ratio(rows, 'sdpa flash, causal')} "
            f"| {ratio(rows, 'flex_attention')} |"
        )


def decode(report: dict) -> Iterator[str]:
    yield "| decode, one query, bf16 | ms | GB/s | a plain read of k and v, GB/s | SDPA |"
    yield "| --- | --- | --- | --- | --- |"
    for result in report["results"]:
        rows, case = {row["name"]: row for row in result["contenders"]}, result["case"]
        ours = rows["intp_ext"]
        yield (
            f"| S {case['tokens']}, {case['heads']}/{case['kv_heads']} heads, D "
            f"{case['head_dim']}, `{case['layout']}` | {ours['ms']['median']:.1f} "
            f"| {ours['gb_per_s']:.0f} | {rows['read']['gb_per_s']:.0f} | {ratio(rows, 'sdpa')} |"
        )


def tables(folder: Path) -> list[str]:
    attention, decoding = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("attention", "decode")
    )
    blocks = prefill(attention, 2), prefill(attention, 1), decode(decoding)
    return ["\n".join(lines) for lines in blocks]


if __name__ == "__main__":
    print("\n\n".join(tables(Path(sys.argv[1]))))
