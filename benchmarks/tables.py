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


def kv_accuracy(report: dict) -> Iterator[str]:
    lengths = list(report["about"]["questions"])
    dims = list(report["arms"][0]["share_of_16_bits"])
    head = ["keys, values", "bytes, codes alone", *(f"all, D {dim}" for dim in dims)]
    head += [f"right, 1/{length}" for length in lengths]
    head += ["points over 16 bits", "changed", "KL, 0.001 nats", "perplexity"]
    yield f"| {' | '.join(head)} |"
    yield "| --- " * len(head) + "|"
    for arm in report["arms"]:
        cells = [arm["arm"], f"{arm['codes_share']:.3f}"]
        cells += [f"{arm['share_of_16_bits'][dim]:.3f}" for dim in dims]
        cells += [percent(arm["by_length"][length]["accuracy"]) for length in lengths]
        found = arm["by_length"]["all"]
        cells += [percent(found["over_16_bits"], "+"), f"{100 * found['changed']['mean']:.1f}%"]
        cells += [f"{1000 * found['kl']['mean']:.2f}", f"{found['perplexity']:.3f}"]
        yield f"| {' | '.join(cells)} |"


def percent(found: dict, sign: str = "") -> str:
    mean, low, high = (f"{100 * found[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def tables(folder: Path) -> list[str]:
    attention, decoding = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("attention", "decode")
    )
    blocks = prefill(attention, 2), prefill(attention, 1), decode(decoding)
    return ["\n".join(lines) for lines in blocks]


if __name__ == "__main__":
    print("\n\n".join(tables(Path(sys.argv[1]))))
