"""Attention of one layer over a long prefill: full causal, and over a sliding window of W tokens.

q [1, Hq, S, D], k and v [1, Hkv, S, D], contiguous, rotated already. Outputs are fresh.

  intp_ext            intp_ext.attention(q, k, v, window=...)
  sdpa flash, causal  F.scaled_dot_product_attention(q, k, v, is_causal=True): with a window it
                      computes MORE than is asked; what one runs without a windowed kernel (to 16k)
  sdpa cudnn, causal  the same by cuDNN's kernels (GPU)
  eager               transformers' eager attention: scores in q's dtype, softmax in float32 (to 4k)
  torch.compile       the same, compiled for exactly this shape (GPU)
  sdpa, mask          F.scaled_dot_product_attention(..., attn_mask=bool [S, S]) (to 8k)
  sdpa, chunks        the same for 1024 queries at a time, over the keys that they see
  flex_attention      torch.compile(flex_attention) with a block mask, for exactly this shape;
                      making the block mask is not counted (to 32k)

FLOP: 4 D for every query head and visible pair (query, key); the same count for every contender.
Limit: those FLOP at the machine's measured peak of multiply-adds in registers, in the dtype.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import runner
import torch
import torch.nn.functional as F
from harness import Contender
from machine import Copy
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import intp_ext

EAGER_TOKENS, MASK_TOKENS, CAUSAL_TOKENS, CHUNK = 4096, 8192, 16384, 1024
# how many times as fast as the contender, at D = 128 and 8k and 16k tokens
GOALS = {
    "bf16": {"sdpa flash, causal": 4.0, "flex_attention": 5.3},
    "fp32": {"sdpa flash, causal": 2.0, "flex_attention": 1.5},
}


@dataclass(frozen=True)
class Case:
    tokens: int
    dtype: str
    window: int | None = None
    head_dim: int = 128
    heads: int = 4
    kv_heads: int = 4

    def label(self) -> str:
        window = f", window {self.window}" if self.window else ", causal"
        shape = f"[1, {self.heads}/{self.kv_heads}, {self.tokens}, {self.head_dim}]"
        return f"attention {shape} {self.dtype}{window}"

    def bytes_moved(self) -> int:
        """q, k and v read and the output written, once."""
        states = 2 * self.tokens * (self.heads + self.kv_heads) * self.head_dim
        return states * runner.DTYPES[self.dtype].itemsize

    def flops(self) -> int:
        seen = min(self.window or self.tokens, self.tokens)
        pairs = self.tokens * seen - seen * (seen - 1) // 2
        return 4 * self.head_dim * self.heads * pairs


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(2048, "bf16", window) for window in (None, 512)]
    found = [Case(100_000, "bf16", 2048)]
    for dtype in runner.DTYPES:
        for window in (None, 2048):
            lengths = (2048, 8192, 16384) if window is None else (4096, 8192, 16384, 32768)
            found += [Case(tokens, dtype, window) for tokens in lengths]
            found.append(Case(8192, dtype, window, head_dim=64, heads=8, kv_heads=8))
            found.append(Case(8192, dtype, window, head_dim=96))
            found.append(Case(8192, dtype, window, heads=7, kv_heads=1))
        found.append(Case(8192, dtype, 512))
    return found


def gpu_cases(quick: bool) -> Sequence[Case]:
    if quick:
        return cases(quick)
    full = [Case(tokens, "bf16", heads=32, kv_heads=32) for tokens in (4096, 16384, 32768)]
    windowed = [Case(tokens, "bf16", 2048, heads=32, kv_heads=32) for tokens in (4096, 32768)]
    grouped = [Case(16384, "bf16", heads=32, kv_heads=8)]
    return [*full, *windowed, *grouped, Case(4096, "fp32")]


def limit(case: Case, peaks: dict) -> float | None:
    """ms; None on a GPU, whose peak is not measured here."""
    peak = peaks.get(f"peak_{case.dtype}_gflop_per_s")
    return peak and case.flops() / peak / 1e6


def goals(case: Case) -> dict[str, float]:
    if case.tokens not in (8192, 16384) or case.head_dim != 128 or case.heads != case.kv_heads:
        return {}
    if case.window is None:
        return {"sdpa flash, causal": GOALS[case.dtype]["sdpa flash, causal"]}
    return {"flex_attention": GOALS[case.dtype]["flex_attention"]} if case.window == 2048 else {}


def visible(case: Case, device: torch.device) -> Callable[[slice, slice], torch.Tensor]:
    """Of queries and keys: a boolean mask, True where seen."""
    position = torch.arange(case.tokens, device=device)

    def mask(queries: slice, keys: slice) -> torch.Tensor:
        distance = position[queries, None] - position[None, keys]
        return (distance >= 0) & (distance < (case.window or case.tokens))

    return mask


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    del copy
    q, k, v = (
        torch.randn(1, heads, case.tokens, case.head_dim, device=device).to(
            runner.DTYPES[case.dtype]
        )
        for heads in (case.heads, case.kv_heads, case.kv_heads)
    )
    group = case.heads // case.kv_heads
    window = None if case.window is None else intp_ext.Window(case.window)
    mask = visible(case, device)
    whole = slice(0, case.tokens)

    def sdpa(rows: slice, keys: slice, **options) -> torch.Tensor:
        states = q[:, :, rows], k[:, :, keys], v[:, :, keys]
        return F.scaled_dot_product_attention(*states, enable_gqa=group > 1, **options)

    def causal(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return sdpa(whole, whole, is_causal=True)

    def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * case.head_dim**-0.5
        scores.masked_fill_(~full_mask, float("-inf"))
        return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v.repeat_interleave(group, 1)

    def chunks() -> torch.Tensor:
        parts = []
        for start in range(0, case.tokens, CHUNK):
            stop = min(start + CHUNK, case.tokens)
            rows, keys = slice(start, stop), slice(max(0, start - case.window + 1), stop)
            parts.append(sdpa(rows, keys, attn_mask=mask(rows, keys)))
        return torch.cat(parts, 2)

    ours = "intp_ext"
    found = [Contender(ours, lambda: intp_ext.attention(q, k, v, window=window))]

    def add(name: str, run: Callable[[], torch.Tensor], **options) -> None:
        found.append(Contender(name, run, ours, **options))

    flash, cudnn = "sdpa flash, causal", "sdpa cudnn, causal"
    if device.type == "cuda":
        for name, backend in (
            (flash, SDPBackend.FLASH_ATTENTION),
            (cudnn, SDPBackend.CUDNN_ATTENTION),
        ):
            add(name, partial(causal, backend), same=window is None, optional=True)
    elif case.tokens <= CAUSAL_TOKENS:
        add(flash, lambda: sdpa(whole, whole, is_causal=True), same=window is None)
    full_mask = mask(whole, whole) if case.tokens <= MASK_TOKENS else None
    if case.tokens <= EAGER_TOKENS:
        add("eager", lambda: eager(q, k, v))
        if device.type == "cuda":
            compiled = torch.compile(eager, dynamic=False)
            add("torch.compile", lambda: compiled(q, k, v), compiled=True, optional=True)
    if window is not None:
        if full_mask is not None:
            add("sdpa, mask", lambda: sdpa(whole, whole, attn_mask=full_mask))
        add("sdpa, chunks", chunks)
        if case.tokens > 2 * CAUSAL_TOKENS:
            return found
        blocks = create_block_mask(
            lambda b, h, i, j: (i >= j) & (i - j < case.window),
            1, 1, case.tokens, case.tokens, device=device.type,
        )  # fmt: skip
        flex = torch.compile(flex_attention, dynamic=False)
        add(
            "flex_attention",
            lambda: flex(q, k, v, block_mask=blocks, enable_gqa=group > 1),
            compiled=True,
            optional=device.type == "cuda",
        )
    return found


BENCHMARK = runner.Benchmark(
    name="attention",
    description=__doc__,
    cases=cases,
    gpu_cases=gpu_cases,
    contenders=contenders,
    tolerance={"bf16": 0.05, "fp32": 1e-4},
    limit=limit,
    goals=goals,
)

if __name__ == "__main__":
    sys.exit(runner.run(BENCHMARK))
