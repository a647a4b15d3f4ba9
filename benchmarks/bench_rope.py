"""RoPE on q and k of one layer: ours against transformers' eager functions and torch.compile.

q [1, 32, S, 128]; k the same, or with 8 heads (GQA). In memory [1, S, heads, 128], as a projection
leaves them. With order, the rows are gathered into time order too.

  intp_ext                     intp_ext.apply_rope(q, k, positions, rope, order), sines included
  intp_ext, out=               the same into preallocated outputs
  transformers                 cos, sin = LlamaRotaryEmbedding(q, positions), then
                               apply_rotary_pos_emb(q, k, cos, sin);
                               with order, of q[:, :, order] and k[:, :, order]
  transformers, tables ready   the same, cos and sin not counted, as in every layer but the first
  torch.compile                "transformers", compiled for exactly this shape
  torch.compile, tables ready  "transformers, tables ready", compiled
  copy                         q and k, unturned, by the fastest copy found, preallocated

transformers' functions cannot write into preallocated outputs: they are compared with "intp_ext".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import runner
import torch
from harness import Contender
from machine import Copy
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import intp_ext

HEAD_DIM, HEADS, GQA_HEADS = 128, 32, 8


@dataclass(frozen=True)
class Case:
    tokens: int
    dtype: str
    kv_heads: int = HEADS
    order: bool = False
    heads: int = HEADS
    head_dim: int = HEAD_DIM

    def label(self) -> str:
        order = ", with order" if self.order else ""
        shape = f"[1, {self.heads}+{self.kv_heads}, {self.tokens}, {self.head_dim}]"
        return f"rope {shape} {self.dtype}{order}"

    def bytes_moved(self) -> int:
        """q and k read and written once; int64 positions and int32 order read once."""
        states = self.tokens * (self.heads + self.kv_heads) * self.head_dim
        indices = self.tokens * (8 + 4 * self.order)
        return 2 * states * runner.DTYPES[self.dtype].itemsize + indices


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(2048, "bf16", order=order) for order in (False, True)]
    found = []
    for dtype in runner.DTYPES:
        found += [Case(tokens, dtype) for tokens in (2048, 8192, 32768)]
        found += [
            Case(8192, dtype, kv_heads, order)
            for kv_heads in (HEADS, GQA_HEADS)
            for order in (False, True)
            if (kv_heads, order) != (HEADS, False)
        ]
    return found


def gpu_cases(quick: bool) -> Sequence[Case]:
    if quick:
        return cases(quick)
    return [
        *(Case(tokens, "bf16") for tokens in (2048, 16384, 65536)),
        Case(16384, "bf16", order=True),
        Case(16384, "bf16", GQA_HEADS, order=True),
        Case(16384, "fp32"),
    ]


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    def states(heads: int) -> torch.Tensor:
        made = torch.randn(1, case.tokens, heads, case.head_dim, device=device)
        return made.to(runner.DTYPES[case.dtype]).transpose(1, 2)  # [1, heads, S, head_dim]

    q, k = states(case.heads), states(case.kv_heads)
    out = (torch.empty_like(q), torch.empty_like(k))
    positions = torch.arange(case.tokens, device=device)[None]
    order = None
    if case.order:
        order = torch.randperm(case.tokens, device=device).to(torch.int32)
    config = LlamaConfig(
        hidden_size=case.heads * case.head_dim,
        num_attention_heads=case.heads,
        max_position_embeddings=case.tokens,
    )
    rotary = LlamaRotaryEmbedding(config).to(device)
    rope = intp_ext.Rope(rotary.inv_freq, rotary.attention_scaling)
    tables = rotary(q, positions)

    def apply(q, k, cos, sin, order):
        if order is not None:
            q, k = q[:, :, order], k[:, :, order]
        return apply_rotary_pos_emb(q, k, cos, sin)

    def all_of_it(q, k, positions, order):
        return apply(q, k, *rotary(q, positions), order)

    compiled_apply = torch.compile(apply, dynamic=False)
    compiled_all = torch.compile(all_of_it, dynamic=False)

    def copy_both():
        for to, source in zip(out, (q, k), strict=True):
            copy(to.transpose(1, 2), source.transpose(1, 2))

    ours, ours_out = "intp_ext", "intp_ext, out="
    return [
        Contender(ours, lambda: intp_ext.apply_rope(q, k, positions, rope, order)),
        Contender("transformers", lambda: all_of_it(q, k, positions, order), ours),
        Contender("transformers, tables ready", lambda: apply(q, k, *tables, order), ours),
        Contender(
            "torch.compile", lambda: compiled_all(q, k, positions, order), ours, compiled=True
        ),
        Contender(
            "torch.compile, tables ready",
            lambda: compiled_apply(q, k, *tables, order),
            ours,
            compiled=True,
        ),
        Contender(ours_out, lambda: intp_ext.apply_rope(q, k, positions, rope, order, out=out)),
        Contender(runner.COPY, copy_both, ours_out),
    ]


BENCHMARK = runner.Benchmark(
    name="rope",
    description=__doc__,
    cases=cases,
    gpu_cases=gpu_cases,
    contenders=contenders,
    tolerance={"bf16": 0.1, "fp32": 1e-3},  # transformers rounds cos, sin and both products to bf16
)

if __name__ == "__main__":
    sys.exit(runner.run(BENCHMARK))
