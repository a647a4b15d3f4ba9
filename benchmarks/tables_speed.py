"""Speed on a CPU, for the pages: attention, decode, the packed cache, the proof of a pass."""

from __future__ import annotations

from functools import partial

from tables_common import ROOT, ZEN4, ZEN4_AVX2, ZEN5, ZEN5_AVX2, load, paragraph, table

THREADS = {1: "one thread", 2: "2 threads"}


def label(case: dict) -> str:
    seen = f"window {case['window']}" if case["window"] else "causal"
    heads = f"{case['heads']}/{case['kv_heads']} heads"
    return f"{case['dtype']}, S {case['tokens']}, {heads}, D {case['head_dim']}, {seen}"


def contenders(result: dict) -> dict[str, dict]:
    return {row["name"]: row for row in result["contenders"]}


def ratio(rows: dict[str, dict], name: str, goals: bool = True) -> str:
    if name not in rows:
        return "-"
    row = rows[name]
    text = f"{row['times_as_long_as']['median']:.2f} x"
    if goals and "goal" in row:
        goal = row["goal"]
        text += f" (goal {goal['times']}: {goal['needs_share_of_limit']:.0%} of the limit)"
    return text


def peak(dtype: str, folder: str = ZEN4) -> float:
    """The processor's arithmetic with two threads, TFLOP/s."""
    found = next(peak for peak in load(f"{folder}/attention")["peaks"] if peak["threads"] == 2)
    return found[f"peak_{dtype}_gflop_per_s"] / 1000


def peaks() -> str:
    fp32, bf16 = peak("fp32"), peak("bf16")
    return f"{fp32:.2f} TFLOP/s in float32 and {bf16:.2f} in bfloat16 dot products"


def fma_peak() -> str:
    return f"{peak('fp32', ZEN4_AVX2):.2f} TFLOP/s"


def prefill(threads: int, folder: str = ZEN4) -> str:
    rows = []
    for result in load(f"{folder}/attention")["results"]:
        if result["threads"] == threads:
            found = contenders(result)
            ours = found["intp_ext"]
            ms, share = f"{ours['ms']['median']:.0f}", f"{ours['share_of_limit']:.0%}"
            names = "sdpa flash, causal", "flex_attention"
            # the goals over peers are those of a processor with bfloat16 dot products
            peers = (ratio(found, name, goals=folder == ZEN4) for name in names)
            rows.append((label(result["case"]), ms, share, *peers))
    head = f"prefill, {THREADS[threads]}", "ms", "of the limit", "SDPA flash, causal"
    return table((*head, "FlexAttention"), rows)


def prefill_elsewhere() -> str:
    """Shares of the limit with AVX2 on the other processor."""
    shares = [
        contenders(result)["intp_ext"]["share_of_limit"]
        for result in load(f"{ZEN5_AVX2}/attention")["results"]
    ]
    return f"{100 * min(shares):.0f} to {max(shares):.0%}"


def flash() -> str:
    """Its share of the limit where twice, or four times, its speed was the goal."""
    shares: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for result in load(f"{ZEN4}/attention")["results"]:
        row = contenders(result).get("sdpa flash, causal", {})
        if "goal" in row:
            shares[result["case"]["dtype"]].append(row["share_of_limit"])
    fp32, bf16 = (f"{100 * min(found):.0f} to {max(found):.0%}" for found in shares.values())
    return f"{fp32} in float32 and {bf16} in bfloat16"


def long_window() -> str:
    """How time and memory grow with the length, beside the case of 8192 tokens."""
    cases = {
        result["case"]["tokens"]: result
        for result in load(f"{ZEN4}/attention")["results"]
        if label(result["case"]).endswith("4/4 heads, D 128, window 2048")
        and (result["threads"], result["case"]["dtype"]) == (2, "bf16")
    }
    length = max(cases)
    ours = {tokens: contenders(result)["intp_ext"] for tokens, result in cases.items()}
    longer = ours[length]["ms"]["median"] / ours[8192]["ms"]["median"]
    case = cases[length]["case"]
    output = length * case["heads"] * case["head_dim"] * 2 / 2**20  # bfloat16
    return paragraph(
        f"{length:,} tokens with a window of {case['window']} take {longer:.0f} times as long as "
        f"8192 for {length / 8192:.0f} times the tokens. They raise the memory of the process by "
        f"{ours[length]['first_call_mib']:.0f} MiB, of which the output is {output:.0f}."
    )


def decode(folder: str = ZEN4) -> str:
    rows = []
    for result in load(f"{folder}/decode")["results"]:
        found, case = contenders(result), result["case"]
        heads = f"{case['heads']}/{case['kv_heads']} heads"
        what = f"S {case['tokens']}, {heads}, D {case['head_dim']}, `{case['layout']}`"
        ours, read = found["intp_ext"], found["read"]
        speeds = f"{ours['gb_per_s']:.0f}", f"{read['gb_per_s']:.0f}"
        share = f"{read['times_as_long_as']['median']:.0%}"
        rows.append((what, f"{ours['ms']['median']:.1f}", *speeds, share, ratio(found, "sdpa")))
    head = "decode, one query, bf16", "ms", "GB/s", "a plain read of k and v, GB/s", "of that"
    return table((*head, "SDPA"), rows)


KV_CACHE = {
    "16 bits": "intp_ext 16",
    "8": "intp_ext 8",
    "4": "intp_ext 4",
    "3": "intp_ext 3",
    "2.5": "intp_ext 2.5",
    "2": "intp_ext 2",
    "4, unrotated": "intp_ext 4, on read",
    "sdpa": "sdpa",
    "eager": "eager",
    "QuantizedCache, 4": "QuantizedCache 4",
    "read": "read",
}


def kv_cache(folder: str = ZEN4) -> str:
    """Decode over a packed cache."""
    rows = []
    results = load(f"{folder}/kv_cache")["results"]
    measured = {name for result in results for name in contenders(result)}
    columns = {label: name for label, name in KV_CACHE.items() if name in measured}
    for result in results:
        found, case = contenders(result), result["case"]
        cells = [f"{case['heads']} over {case['kv_heads']}, {case['tokens'] // 1024}k"]
        cells += [
            f"{found[name]['ms']['median']:.2f}" if name in found else "-"
            for name in columns.values()
        ]
        limit, read = result["limit_ms"], found.get("read")
        cells.append(f"{limit:.2f}" if limit else "-")
        cells.append(f"{read['times_as_long_as']['median']:.0%}" if read else "-")
        cells.append(times_faster(found["intp_ext 4"]["times_as_long_as"]))
        peer = min(found[name]["ms"]["median"] for name in ("sdpa", "eager"))
        cells += [f"{peer / found[f'intp_ext {bits}']['ms']['median']:.2f}" for bits in (16, 4)]
        rows.append(cells)
    head = ["query heads over key heads, keys", *columns, "arithmetic", "16 bits: share of read"]
    head += ["4 bits over 16", "16 bits over PyTorch's faster", "4 bits over it"]
    return table(head, rows)


def times_faster(times_as_long: dict) -> str:
    """Median and quartiles of the rounds."""
    low, middle, high = (1 / times_as_long[name] for name in ("q3", "median", "q1"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def kv_append() -> str:
    """Bytes of a token, and packing a prompt."""
    rows = [
        (
            row["name"],
            str(row["bits"]),
            f"{row['ms']:.1f}",
            f"{row['bytes_per_token']:.0f}",
            f"{row['share_of_16_bits']:.3f}",
        )
        for row in load(f"{ZEN4}/kv_cache")["append"][0]["by_bits"]
        if "refused" not in row
    ]
    return table(("", "bits", "ms", "bytes a token", "of 16 bits"), rows)


def routes() -> str:
    """Prefill by the two routes of the longest question."""
    result = max(load(f"{ZEN5}/ask")["results"], key=lambda result: result["frames"])
    features, attention = (
        result["arms"][arm]["median_s"]["prefill"] for arm in ("intp_ext", "intp_ext, attention")
    )
    return f"{features:.1f} s of prefill against {attention:.1f} at {result['frames']} frames"


def left_out() -> str:
    """Rounds of a whole question, and who did not take part."""
    results = load(f"{ZEN5}/ask")["results"]
    rounds = len(results[0]["arms"]["intp_ext"]["runs"])
    missing = (
        f"; {arm} is left out at {result['frames']} frames: it {why}"
        for result in results
        for arm, why in result["left_out"].items()
    )
    return f"{rounds} rounds of each{''.join(missing)}"


SHAPES = {
    "ask": "Video-LLaVA",
    "ask_qwen2_5_vl": "Qwen2.5-VL-3B",
    "ask_internvl": "InternVL3-1B",
}


def shapes(folder: str = ZEN5) -> str:
    """The longest question to each shape that was measured, by stage."""
    rows = []
    for name, shape in SHAPES.items():
        if not (ROOT / f"{folder}/{name}.json").is_file():
            continue
        result = max(load(f"{folder}/{name}")["results"], key=lambda result: result["frames"])
        for arm, figures in result["arms"].items():
            median = figures["median_s"]
            limit = figures["limit_s"]
            cells = (
                f"{scale * median[stage]:.{digits}f} ({100 * limit[stage] / median[stage]:.0f}%)"
                for stage, scale, digits in (
                    ("encode", 1, 2),
                    ("prefill", 1, 2),
                    ("token", 1000, 0),
                )
            )
            size = f"{result['frames']} frames, {result['prompt_tokens']:,} tokens"
            rows.append((f"{shape}, {size}", arm, *cells))
    return table(("shape", "", "encoding, s", "prefill, s", "ms a token"), rows)


def question_by_frames() -> str:
    """From the video to the first token, and each token after it, beside stock sdpa."""
    results = [
        (processor, result)
        for processor, folder in (("Zen 4", ZEN4), ("Zen 5", ZEN5))
        for result in load(f"{folder}/ask_frames")["results"]
    ]
    rows, stock = [], "stock sdpa"
    for processor, result in results:
        arms = {name: arm["median_s"] for name, arm in result["arms"].items()}
        first = {name: median["encode"] + median["prefill"] for name, median in arms.items()}
        for name, median in arms.items():
            token = median["token"]
            cells = [processor, f"{result['frames']}", f"{result['prompt_tokens']:,}", name]
            cells += [f"{first[name]:.1f}", f"{first[stock] / first[name]:.2f} x"]
            cells += [f"{1000 * token:.0f}", f"{arms[stock]['token'] / token:.2f} x"]
            rows.append(cells)
    head = "", "frames", "tokens", "", "first token, s", "as fast as stock sdpa", "ms a token"
    return table((*head, "as fast as stock sdpa"), rows)


def token_parts() -> str:
    """Where the time of a token goes, beside the limit and what torch's linear layers leave."""
    rows = []
    for result in load(f"{ZEN5}/token")["results"]:
        for arm, figures in result["arms"].items():
            times = [figures["s"], *figures["parts_s"].values()]
            least = (
                f"{1000 * figures[name]:.1f} ({figures[name] / figures['s']:.0%})"
                for name in ("limit_s", "reach_s")
            )
            cells = (*(f"{1000 * seconds:.1f}" for seconds in times), *least)
            rows.append((result["dtype"], arm, *cells))
    head = "ms a token", "", "all", "linear layers", "attention", "cache", "the rest", "limit"
    return table((*head, "reach"), rows)


def linears_alone() -> str:
    """How fast torch's linear layers read their weights for one row."""
    results = load(f"{ZEN5}/token")["results"]

    def rate(result: dict, name: str) -> str:
        return f"{result['weight_bytes'] / result[name] / 1e9:.0f}"

    rates = (
        f"{rate(result, 'linears_alone_s')} GB/s in {result['dtype']} "
        f"({rate(result, 'linears_one_thread_s')} on one thread)"
        for result in results
    )
    peak = max(result["peak_read_gb_per_s"] for result in results)
    return f"{' and '.join(rates)}, of {peak:.0f} that two threads can read"


def proof() -> str:
    found = load(f"{ZEN5}/proof")
    cost = f"{found['us']:.0f} microseconds for a pass through {found['layers']} layers"
    return f"{cost} on an {found['machine']['cpu']['model']}"


SMALL_PARTS = ("checks", "bounds", "dispatch", "allocation", "kernel")


def small_calls() -> str:
    """Microseconds of each call and of its parts, beside SDPA in the same rounds."""
    found = load(f"{ZEN5}/small_calls")
    rows = [
        (
            f"`{row['name']}`",
            f"{row['us']['median']:.1f}",
            *(str(round(row["parts_us"][part], 1) + 0.0) for part in SMALL_PARTS),  # no -0.0
            f"{row['times_sdpa']:.1f} x",
        )
        for row in found["operators"]
    ]
    sdpa = ("SDPA", f"{found['sdpa_us']['median']:.1f}", *["-"] * len(SMALL_PARTS), "1 x")
    return table(("float32, one thread", "us", *SMALL_PARTS, "of SDPA"), [*rows, sdpa])


def importing() -> str:
    found = load(f"{ZEN5}/small_calls")["import"]
    return f"{found['ms']['median']:.0f} ms (goal: {found['goal_ms']:.0f})"


BLOCKS = {
    "peaks": peaks,
    "prefill-2-threads": partial(prefill, 2),
    "prefill-1-thread": partial(prefill, 1),
    "fma-peak": fma_peak,
    "prefill-avx2": partial(prefill, 2, ZEN4_AVX2),
    "flash-share-of-limit": flash,
    "long-window": long_window,
    "prefill-avx2-elsewhere": prefill_elsewhere,
    "decode": decode,
    "decode-avx2": partial(decode, ZEN4_AVX2),
    "kv-cache-speed": kv_cache,
    "kv-cache-speed-avx2": partial(kv_cache, ZEN4_AVX2),
    "kv-append": kv_append,
    "prefill-by-route": routes,
    "question-left-out": left_out,
    "question-by-shape": shapes,
    "question-by-frames": question_by_frames,
    "token-parts": token_parts,
    "linears-alone": linears_alone,
    "proof-of-a-pass": proof,
    "small-calls": small_calls,
    "import": importing,
}
