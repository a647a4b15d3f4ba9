"""A question about a video, stage by stage: an extended model against the stock model.

A model with random weights (about 100 to 150 M parameters, or 7 billion: --size 7b) is shown a
drawn video: a Video-LLaVA (257 tokens a frame), or one with the heads and patches of Qwen2.5-VL-3B
or InternVL3-1B (--shape).
Every arm gets the same pixels, prompt and RoPE frequencies and generates greedily:

  intp_ext             intp_video.extend(model): groups of frames, our cache layer and attention
  intp_ext, attention  the same, rearrange="attention"
  intp_ext, window     the same, window=8: every frame attends to 8
  intp_ext, 4 bits     the same, kv_bits=4
  stock sdpa           transformers, attn_implementation="sdpa", all frames encoded at once
  stock eager          transformers, attn_implementation="eager", likewise

--windows adds arms with other windows, as "intp_ext, window 16".
Where the encoder never looks across frames, "intp_ext, attention" is left out: it has nothing to
rearrange. A window and the packed cache are other computations: their tokens may differ. An arm
that would not fit into memory is not run, and the JSON says so. Arms take turns; the figures are
medians over the rounds. On a CPU each stage stands beside the least time that its products or the
bytes it reads could take (ask_limits.py), as the share of its time in per cent. A token stands
beside one more: torch's linear layers as they are, on one row, and a read of the cache.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import ask_limits
import harness
import intp_video
import machine
import numpy as np
import placement
import psutil
import torch
from ask_models import SHAPES, SIZES, Asked
from intp_video.lab.shapes import draw, held_out_world
from intp_video.models import family_for
from intp_video.video import Clip
from torch import nn
from tqdm import tqdm
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.utils import logging

import intp_ext

STAGES = ("encode", "prefill", "token")
OURS: dict[str, dict[str, object]] = {
    "intp_ext": {},
    "intp_ext, attention": {"rearrange": "attention"},
    "intp_ext, window": {"window": 8},
    "intp_ext, 4 bits": {"kv_bits": 4},
}
ARMS = (*OURS, "stock sdpa", "stock eager")
SECONDS = 48.0  # of the drawn video
SIDE = 272  # of its frames, pixels
BUFFER_MIB = 512  # whose reads tell the peak
LINEARS = 21  # how often the linear layers alone are timed


def now(device: torch.device) -> float:
    """The time at which everything that was given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def drawn_clip(frames: int) -> Clip:
    """A world of shapes as :func:`intp_video.read_video` would show it, without a decoder."""
    times = (np.arange(frames) + 0.5) / frames
    images = draw(held_out_world(0, 1 / 32)[0], times, SIDE)[0]
    return Clip(
        frames=np.round(images).astype(np.uint8),
        timestamps=times * SECONDS,
        indices=np.arange(frames),
        fps=frames / SECONDS,
        duration=SECONDS,
        backend="none",
        path="none",
    )


class FirstToken(StoppingCriteria):
    """Never stops; remembers when the first token was there."""

    def __init__(self) -> None:
        self.time: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        self.time = self.time or now(input_ids.device)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def stock(model: nn.Module, implementation: str, rope: intp_ext.Rope | None) -> Iterator[None]:
    """The model as transformers runs it, at these frequencies, or at its own."""
    text = family_for(model.config).text_model(model)
    rotary, before = text.rotary_emb, text.config._attn_implementation
    frequencies, scaling = rotary.inv_freq.clone(), rotary.attention_scaling
    if rope is not None:
        rotary.inv_freq.copy_(rope.inv_freq)
        rotary.attention_scaling = rope.attention_scaling
    text.set_attn_implementation(implementation)
    try:
        yield
    finally:
        text.set_attn_implementation(before)
        rotary.inv_freq.copy_(frequencies)
        rotary.attention_scaling = scaling


@contextmanager
def encoding_timed(model: nn.Module, ended: Callable[[], None]) -> Iterator[None]:
    """Calls ``ended`` when the family's encoder returns."""
    family = family_for(model.config)
    outer, name = family.multimodal_module(model), family.encoder
    own = vars(outer).get(name)
    original = getattr(outer, name)

    @functools.wraps(original)
    def encoder(*args, **kwargs):
        output = original(*args, **kwargs)
        ended()
        return output

    setattr(outer, name, encoder)
    try:
        yield
    finally:
        if own is None:
            delattr(outer, name)
        else:
            setattr(outer, name, own)


def arm_options(arm: str) -> dict[str, object] | None:
    """Of extend(); None for a stock arm."""
    if arm in OURS or arm.startswith("stock"):
        return OURS.get(arm)
    return {"window": int(arm.split()[-1])}


def same_computation(arm: str) -> bool:
    """A window and a packed cache compute something else."""
    return not {"window", "kv_bits"} & (arm_options(arm) or {}).keys()


def set_up(arm: str, asked: Asked, frames: int) -> AbstractContextManager[object]:
    """While it is entered, the model computes as the arm does."""
    model, options = asked.model, arm_options(arm)
    if options is not None:
        return intp_video.extend(model, frames, rope=asked.rope, **options)
    if asked.rope == "none":
        return stock(model, arm.split()[1], None)
    plan = intp_video.plan(model, frames)
    text = model.config.text_config
    head_dim = text.hidden_size // text.num_attention_heads
    rope = intp_ext.rope_frequencies(asked.rope, head_dim, factor=plan.factor)
    return stock(model, arm.split()[1], rope)


def run_arm(
    arm: str, asked: Asked, inputs: dict[str, torch.Tensor], frames: int, tokens: int
) -> tuple[dict[str, float], list[int]]:
    """Seconds of each stage (of one token for "token"), and the tokens."""
    model = asked.model
    encoded, first = [], FirstToken()

    def ended() -> None:
        encoded.append(now(model.device))

    with set_up(arm, asked, frames), encoding_timed(model, ended):
        begin = now(model.device)
        ids = model.generate(
            **inputs,
            max_new_tokens=tokens,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([first]),
        )
        end = now(model.device)
    seconds = {
        "encode": encoded[0] - begin,
        "prefill": first.time - encoded[0],
        "token": (end - first.time) / (tokens - 1),
    }
    return seconds, ids[0, inputs["input_ids"].shape[1] :].tolist()


def eager_bytes(model: nn.Module, tokens: int) -> int:
    """Scores, the mask added, and the softmax in float32 of one layer."""
    heads = model.config.text_config.num_attention_heads
    return heads * tokens**2 * (2 * model.dtype.itemsize + 4)


def free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what the allocator holds back is free too
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    device = torch.device("meta" if options.dry_run else options.device)
    dtype = getattr(torch, options.dtype)
    asked = SHAPES[options.shape](options.size, dtype, device)
    report = {
        "benchmark": "ask",
        "machine": machine.describe(device),
        "device": options.device,
        "shape": options.shape,
        "size": options.size,
        "dtype": options.dtype,
        "threads": options.threads,
        "results": [],
        "parameters": sum(p.numel() for p in asked.model.parameters()),
        "peaks": None,
        "linears_s": None,
    }
    if device.type == "cpu":
        report["peaks"] = machine.peaks(device, options.threads, BUFFER_MIB)[0]
        report["linears_s"] = harness.median_seconds(ask_limits.one_row(asked.model), LINEARS)
    pixels = family_for(asked.model.config).pixels
    for frames in options.frames:
        inputs = {name: x.to(device) for name, x in asked.inputs(drawn_clip(frames)).items()}
        inputs[pixels] = inputs[pixels].to(dtype)
        if options.dry_run:
            print(rehearse(asked, inputs, frames, options))
            continue
        result = measure(asked, inputs, frames, options)
        if report["peaks"] is not None:
            add_limits(result, asked, inputs, report, options)
        report["results"].append(result)
        print(table(report["results"][-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    placement.add_options(parser)
    parser.add_argument(
        "--shape", choices=SHAPES, default="video_llava", help="of the model (default: video_llava)"
    )
    parser.add_argument("--size", default="medium", help="of the random model (default: medium)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of weights and cache"
    )
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help="(default: all)"
    )
    parser.add_argument(
        "--windows", type=int, nargs="+", default=[], metavar="W", help="more arms, by their window"
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64], metavar="M")
    parser.add_argument("--tokens", type=int, default=16, help="to generate (default: 16)")
    parser.add_argument("--rounds", type=int, default=3, help="of all arms (default: 3)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="PATH", help="write everything measured")
    options = parser.parse_args(argv)
    placement.check_options(parser, options)
    if options.tokens < 2 or options.rounds < 1 or options.threads < 1:
        parser.error("expected at least 2 tokens, 1 round and 1 thread")
    if options.size not in SIZES[options.shape]:
        sizes = " or ".join(SIZES[options.shape])
        parser.error(f"--size: expected {sizes} for {options.shape}")
    options.arms += [f"intp_ext, window {window}" for window in options.windows]
    return options


def rehearse(
    asked: Asked, inputs: dict[str, torch.Tensor], frames: int, options: argparse.Namespace
) -> str:
    """What would be asked of a model that has no memory; every arm is set up."""
    for arm in options.arms:
        with set_up(arm, asked, frames):
            pass
    parameters = sum(p.numel() for p in asked.model.parameters())
    return (
        f"{frames} frames, {inputs['input_ids'].shape[1]:,} tokens of prompt, "
        f"{parameters / 1e6:,.0f} M parameters: {'; '.join(options.arms)}"
    )


def measure(
    asked: Asked, inputs: dict[str, torch.Tensor], frames: int, options: argparse.Namespace
) -> dict:
    prompt = inputs["input_ids"].shape[1]
    arms, left_out = list(options.arms), {}
    if "intp_ext, attention" in arms and not family_for(asked.model.config).groups_are_real:
        arms.remove("intp_ext, attention")
        left_out["intp_ext, attention"] = "has nothing to rearrange"
    need, have = eager_bytes(asked.model, prompt), free_bytes(asked.model.device)
    if "stock eager" in arms and need > 0.8 * have:
        arms.remove("stock eager")
        left_out["stock eager"] = f"needs {need / 1e9:.0f} GB, {have / 1e9:.0f} GB are free"
    taken: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    answers: dict[str, list[int]] = {}
    turns = tqdm(total=len(arms) * options.rounds, desc=f"{frames} frames", file=sys.stderr)
    for number in range(options.rounds):
        for offset in range(len(arms)):
            arm = arms[(number + offset) % len(arms)]
            turns.set_postfix_str(arm)
            seconds, answers[arm] = run_arm(arm, asked, inputs, frames, options.tokens)
            taken[arm].append(seconds)
            turns.update()
    turns.close()
    return {
        "frames": frames,
        "prompt_tokens": prompt,
        "arms": {
            arm: {
                "median_s": {s: statistics.median(run[s] for run in runs) for s in STAGES},
                "runs": runs,
                "tokens_equal_first_arm": answers[arm] == answers[arms[0]],
                "same_computation": same_computation(arm),
            }
            for arm, runs in taken.items()
        },
        "left_out": left_out,
    }


def add_limits(
    result: dict,
    asked: Asked,
    inputs: dict[str, torch.Tensor],
    report: dict,
    options: argparse.Namespace,
) -> None:
    """``limit_s`` of each stage, and ``reach_s`` of a token with the linear layers as they are. A
    stock arm computes what "intp_ext" does."""
    peaks = report["peaks"]
    model, frames = asked.model, result["frames"]
    length = result["prompt_tokens"] + options.tokens // 2
    found: dict[str, tuple[dict[str, float], dict[str, float]]] = {}
    for arm, figures in result["arms"].items():
        ours = arm if arm_options(arm) is not None else "intp_ext"
        if ours not in found:
            bits = (arm_options(ours) or {}).get("kv_bits", 16)
            planned = intp_video.plan(model, frames, kv_bits=bits)
            cached = planned.kv_bytes * length // planned.total_tokens
            with set_up(ours, asked, frames):
                work = ask_limits.count(
                    model,
                    lambda: model.generate(**inputs, max_new_tokens=1, do_sample=False),
                    cached,
                )
            reach = report["linears_s"] + cached / (peaks["peak_read_gb_per_s"] * 1e9)
            found[ours] = work.seconds(peaks, model.dtype), {"token": reach}
        figures["limit_s"], figures["reach_s"] = found[ours]


def equal(figures: dict) -> str:
    if figures["tokens_equal_first_arm"]:
        return "yes"
    return "NO" if figures["same_computation"] else "no"


def table(result: dict) -> str:
    lines = [f"{result['frames']} frames, {result['prompt_tokens']:,} tokens of prompt"]
    heads = "".join(f"{head:>17}" for head in ("encode s", "prefill s", "ms/token"))
    lines.append(f"  {'':<20}{heads} {'of reach':>8}  same tokens")
    for arm, figures in result["arms"].items():
        stages = "".join(
            f"{scale * figures['median_s'][stage]:11.2f}{share(figures, 'limit_s', stage):>6}"
            for stage, scale in zip(STAGES, (1, 1, 1e3), strict=True)
        )
        reached = share(figures, "reach_s", "token")
        lines.append(f"  {arm:<20}{stages} {reached:>8}  {equal(figures)}")
    lines += [f"  {arm:<20} not run: {why}" for arm, why in result["left_out"].items()]
    return "\n".join(lines)


def share(figures: dict, least: str, stage: str) -> str:
    """Of the least time of a stage, where it is known, in its time."""
    if least not in figures:
        return ""
    return f"{figures[least][stage] / figures['median_s'][stage]:.0%}"


if __name__ == "__main__":
    sys.exit(main())
