"""Token rearrangement of Video-LLaVA's features: ours against eager PyTorch and torch.compile.

Features [1, m * 8 * 257, 4096]: m groups of 8 frames, 257 tokens a frame, into time order.

  intp_ext            intp_ext.rearrange(features, order)
  intp_ext, out=      the same into a preallocated output
  eager               features[:, order]
  torch.compile       the same, compiled for exactly this shape
  index_select, out=  torch.index_select(features, 1, order, out=...)
  copy                features, unordered, by the fastest copy found, preallocated

Fresh outputs are compared with fresh outputs, preallocated with preallocated: on a CPU most of the
time of a fresh one goes into its first touch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import runner
import torch
from harness import Contender
from machine import Copy

import intp_ext

FRAMES_PER_GROUP, TOKENS_PER_FRAME, CHANNELS = 8, 257, 4096


@dataclass(frozen=True)
class Case:
    frames: int
    dtype: str
    channels: int = CHANNELS

    @property
    def tokens(self) -> int:
        return self.frames * TOKENS_PER_FRAME

    def label(self) -> str:
        return f"rearrange {self.frames} frames, [1, {self.tokens}, {self.channels}] {self.dtype}"

    def bytes_moved(self) -> int:
        """Every feature read and written once, every int32 of the order read once."""
        features = self.tokens * self.channels * runner.DTYPES[self.dtype].itemsize
        return 2 * features + 4 * self.tokens


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(32, "bf16")]
    return [Case(frames, dtype) for dtype in runner.DTYPES for frames in (8, 16, 32, 64, 128)]


def gpu_cases(quick: bool) -> Sequence[Case]:
    if quick:
        return cases(quick)
    return [Case(frames, "bf16") for frames in (8, 64, 256)] + [Case(64, "fp32")]


def gather(features: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return features[:, order]


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    shape = (1, case.tokens, case.channels)
    features = torch.randn(shape, device=device).to(runner.DTYPES[case.dtype])
    groups = case.frames // FRAMES_PER_GROUP
    order = intp_ext.token_order(groups, FRAMES_PER_GROUP, TOKENS_PER_FRAME, device=device)
    out, peer_out = torch.empty_like(features), torch.empty_like(features)
    compiled = torch.compile(gather, dynamic=False)
    ours, ours_out = "intp_ext", "intp_ext, out="
    return [
        Contender(ours, lambda: intp_ext.rearrange(features, order)),
        Contender("eager", lambda: gather(features, order), ours),
        Contender("torch.compile", lambda: compiled(features, order), ours, compiled=True),
        Contender(ours_out, lambda: intp_ext.rearrange(features, order, out=out)),
        Contender(
            "index_select, out=",
            lambda: torch.index_select(features, 1, order, out=peer_out),
            ours_out,
        ),
        Contender(runner.COPY, lambda: copy(out, features), ours_out),
    ]


BENCHMARK = runner.Benchmark(
    name="rearrange",
    description=__doc__,
    cases=cases,
    gpu_cases=gpu_cases,
    contenders=contenders,
    tolerance=dict.fromkeys(runner.DTYPES, 0.0),
)

if __name__ == "__main__":
    sys.exit(runner.run(BENCHMARK))
