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


def prefill(report: dict) -> Iterator[str]:
    yield "| prefill | ms | of the limit | SDPA flash, causal | FlexAttention |"
    yield "| --- | --- | --- | --- | --- |"
    for result in report["results"]:
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


def tables(folder: Path) -> str:
    reports = {
        name: json.loads((folder / f"{name}.json").read_text()) for name in ("attention", "decode")
    }
    lines = [*prefill(reports["attention"]), "", *decode(reports["decode"])]
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables(Path(sys.argv[1])))
