"""Where the time of a decoded token goes, on a CPU: linear layers, our operators, the rest.

A random model is shown a drawn video as in bench_ask.py, and generates greedily. torch's profiler
sees its newest tokens:

  linears     F.linear: torch's products of the one row with every weight
  attention   ours, or SDPA
  cache       the new keys and values: written behind the others by ours, torch.cat of all in stock
  rest        other operators, and the Python of transformers and of the hook

Beside it stand the least time that reading the weights and the cache could take (limit), and the
time of the linear layers alone plus a read of the cache (reach): torch's linear layers are not ours
to change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import ask_limits
import bench_ask
import harness
import intp_video
import machine
import processor
import torch
from ask_models import SHAPES, SIZES, Asked
from intp_video.models import family_for
from torch.profiler import ProfilerActivity, profile
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging

ARMS = "intp_ext", "intp_ext, 4 bits", "stock sdpa"
DTYPES = "float32", "bfloat16"
WARM_UP = 4  # tokens before those that are profiled
PARTS = {
    "linears": ("aten::linear",),
    "attention": (
        "intp_ext::attention_core_no_grad",
        "intp_ext::kv_attention",
        "aten::scaled_dot_product_attention",
    ),
    "cache": ("intp_ext::kv_append", "aten::cat"),
}


class Profiled(StoppingCriteria):
    """Never stops; profiles the tokens after the first ones."""

    def __init__(self) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU])
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        if len(self.times) == WARM_UP:
            self.profiler.start()
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool)

    def parts_s(self) -> dict[str, float]:
        """Of the mean token that was profiled."""
        times = self.times[WARM_UP:]
        tokens = len(times) - 1
        by_name = {event.key: event.cpu_time_total for event in self.profiler.key_averages()}
        parts = {
            part: sum(by_name.get(name, 0.0) for name in names) / tokens / 1e6
            for part, names in PARTS.items()
        }
        return {**parts, "rest": (times[-1] - times[0]) / tokens - sum(parts.values())}


def parts_of(arm: str, asked: Asked, frames: int, tokens: int) -> dict[str, float]:
    model = asked.model
    inputs = asked.inputs(bench_ask.drawn_clip(frames))
    pixels = family_for(model.config).pixels
    inputs[pixels] = inputs[pixels].to(model.dtype)
    seen = Profiled()
    with bench_ask.set_up(arm, asked, frames):
        model.generate(
            **inputs,
            max_new_tokens=WARM_UP + 1 + tokens,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([seen]),
        )
    seen.profiler.stop()
    return seen.parts_s()


def measure(dtype: str, options: argparse.Namespace) -> dict:
    asked = SHAPES[options.shape](options.size, getattr(torch, dtype), torch.device("cpu"))
    model = asked.model
    prompt = asked.inputs(bench_ask.drawn_clip(options.frames))["input_ids"].shape[1]
    length = prompt + WARM_UP + options.tokens // 2
    weights = sum(x.weight.nbytes for x in ask_limits.linears(model))
    peaks = processor.limits(torch.ones(bench_ask.BUFFER_MIB << 18), options.threads)
    read = peaks["peak_read_gb_per_s"] * 1e9
    taken: dict[str, list[dict[str, float]]] = {arm: [] for arm in options.arms}
    linears: dict[int, list[float]] = {1: [], options.threads: []}
    for _ in range(options.rounds):
        for threads, seconds in linears.items():
            torch.set_num_threads(threads)
            seconds.append(harness.median_seconds(ask_limits.one_row(model), bench_ask.LINEARS))
        for arm, parts in taken.items():
            parts.append(parts_of(arm, asked, options.frames, options.tokens))
    found = {
        "dtype": dtype,
        "prompt_tokens": prompt,
        "weight_bytes": weights,
        "linears_alone_s": statistics.median(linears[options.threads]),
        "linears_one_thread_s": statistics.median(linears[1]),
        "peak_read_gb_per_s": peaks["peak_read_gb_per_s"],
        "arms": {},
    }
    for arm, rounds in taken.items():
        bits = (bench_ask.arm_options(arm) or {}).get("kv_bits", 16)
        planned = intp_video.plan(model, options.frames, kv_bits=bits)
        cached = planned.kv_bytes * length // planned.total_tokens
        parts = {part: statistics.median(x[part] for x in rounds) for part in rounds[0]}
        found["arms"][arm] = {
            "parts_s": parts,
            "s": sum(parts.values()),
            "cache_bytes": cached,
            "limit_s": (weights + cached) / read,
            "reach_s": found["linears_alone_s"] + cached / read,
        }
    return found


def table(found: dict) -> str:
    rate = found["weight_bytes"] / found["linears_alone_s"] / 1e9
    lines = [
        f"{found['dtype']}, {found['prompt_tokens']:,} tokens of prompt; linear layers alone: "
        f"{1e3 * found['linears_alone_s']:.1f} ms, {rate:.0f} GB/s "
        f"of {found['peak_read_gb_per_s']:.0f}",
        f"  {'ms a token':<18}" + "".join(f"{x:>10}" for x in ("all", *PARTS, "rest", "limit"))
        + "        reach",
    ]  # fmt: skip
    for arm, figures in found["arms"].items():
        cells = [figures["s"], *figures["parts_s"].values(), figures["limit_s"]]
        lines.append(
            f"  {arm:<18}" + "".join(f"{1e3 * x:10.1f}" for x in cells)
            + f" {figures['limit_s'] / figures['s']:4.0%}"
            + f"{1e3 * figures['reach_s']:8.1f} {figures['reach_s'] / figures['s']:4.0%}"
        )  # fmt: skip
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="video_llava", help="of the model")
    parser.add_argument("--size", default="medium", help="of the random model (default: medium)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM")
    parser.add_argument("--frames", type=int, default=32, metavar="M")
    parser.add_argument("--tokens", type=int, default=12, help="that are profiled (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="of all arms (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything measured")
    options = parser.parse_args(argv)
    if min(options.tokens, options.rounds, options.threads) < 1:
        parser.error("expected at least 1 token, 1 round and 1 thread")
    if options.size not in SIZES[options.shape]:
        parser.error(f"--size: expected {' or '.join(SIZES[options.shape])} for {options.shape}")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    report = {
        "benchmark": "token",
        "machine": machine.describe(torch.device("cpu")),
        "shape": options.shape,
        "size": options.size,
        "frames": options.frames,
        "threads": options.threads,
        "results": [],
    }
    for dtype in options.dtypes:
        report["results"].append(measure(dtype, options))
        print(table(report["results"][-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
