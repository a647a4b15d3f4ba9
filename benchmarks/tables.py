"""The tables of docs/operators.md and docs/kv_cache.md, from the results:

python benchmarks/tables.py benchmarks/results/amd-epyc-2core
"""

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
    yield "| decode, one query, bf16 | ms | GB/s | a plain read of k and v, GB/s | of that | SDPA |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for result in report["results"]:
        rows, case = {row["name"]: row for row in result["contenders"]}, result["case"]
        ours = rows["intp_ext"]
        yield (
            f"| S {case['tokens']}, {case['heads']}/{case['kv_heads']} heads, D "
            f"{case['head_dim']}, `{case['layout']}` | {ours['ms']['median']:.1f} "
            f"| {ours['gb_per_s']:.0f} | {rows['read']['gb_per_s']:.0f} "
            f"| {rows['read']['times_as_long_as']['median']:.0%} | {ratio(rows, 'sdpa')} |"
        )


KV_CACHE = {
    "16 bits": "intp_ext 16",
    "8": "intp_ext 8",
    "4": "intp_ext 4",
    "2": "intp_ext 2",
    "4, unrotated": "intp_ext 4, on read",
    "sdpa": "sdpa",
    "eager": "eager",
    "QuantizedCache, 4": "QuantizedCache 4",
    "read": "read",
}


def kv_cache(report: dict) -> Iterator[str]:
    """Decode over a packed cache."""
    head = ["query heads over key heads, keys", *KV_CACHE, "arithmetic", "16 bits: share of read"]
    head += ["4 bits over 16", "16 bits over PyTorch's faster", "4 bits over it"]
    yield f"| {' | '.join(head)} |"
    yield "| --- " * len(head) + "|"
    for result in report["results"]:
        rows, case = {row["name"]: row for row in result["contenders"]}, result["case"]
        cells = [f"{case['heads']} over {case['kv_heads']}, {case['tokens'] // 1024}k"]
        cells += [
            f"{rows[name]['ms']['median']:.2f}" if name in rows else "-"
            for name in KV_CACHE.values()
        ]
        limit, read = result["limit_ms"], rows.get("read")
        cells.append(f"{limit:.2f}" if limit else "-")
        cells.append(f"{read['times_as_long_as']['median']:.0%}" if read else "-")
        cells.append(times_faster(rows["intp_ext 4"]["times_as_long_as"]))
        peer = min(rows[name]["ms"]["median"] for name in ("sdpa", "eager"))
        cells += [f"{peer / rows[f'intp_ext {bits}']['ms']['median']:.2f}" for bits in (16, 4)]
        yield f"| {' | '.join(cells)} |"


def kv_append(report: dict) -> Iterator[str]:
    """Bytes of a token, and packing a prompt."""
    yield "| | bits | ms | bytes a token | of 16 bits |"
    yield "| --- | --- | --- | --- | --- |"
    for row in report["append"][0]["by_bits"]:
        if "refused" not in row:
            yield (
                f"| {row['name']} | {row['bits']} | {row['ms']:.1f} | {row['bytes_per_token']:.0f} "
                f"| {row['share_of_16_bits']:.3f} |"
            )


def times_faster(times_as_long: dict) -> str:
    """Median and quartiles of the rounds."""
    low, middle, high = (1 / times_as_long[name] for name in ("q3", "median", "q1"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


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
        kl = [f"{1000 * found['kl'][name]:.2f}" for name in ("mean", "low", "high")]
        cells += [f"{kl[0]} [{kl[1]}, {kl[2]}]", f"{found['perplexity']:.3f}"]
        yield f"| {' | '.join(cells)} |"


def percent(found: dict, sign: str = "") -> str:
    mean, low, high = (f"{100 * found[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def kv_tables(results: Path) -> list[str]:
    """Those of docs/kv_cache.md, from the folder of all results."""
    accuracy = json.loads((results / "small-model" / "kv_accuracy.json").read_text())
    speed = json.loads((results / "amd-epyc-2core" / "kv_cache.json").read_text())
    blocks = kv_accuracy(accuracy), kv_cache(speed), kv_append(speed)
    return ["\n".join(lines) for lines in blocks]


def tables(folder: Path) -> list[str]:
    attention, decoding = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("attention", "decode")
    )
    blocks = prefill(attention, 2), prefill(attention, 1), decode(decoding)
    return ["\n".join(lines) for lines in blocks]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print("\n\n".join([*tables(folder), *kv_tables(folder.parent)]))
