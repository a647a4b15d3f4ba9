"""Attention of one new token over a long cache: what every layer does for every token generated.

q [1, 32, 1, 128]; k and v [1, 32, S, 128], or with 8 heads (GQA), rotated already, all of them
seen. In memory they lie as [H, S, D] (a cache that concatenates) or as [S, H, D] (as projected).

  intp_ext        intp_ext.attention(q, k, v, q_offset=S - 1)
  intp_ext, out=  the same into a preallocated output
  sdpa            F.scaled_dot_product_attention(q, k, v), by the kernel that PyTorch chooses
  sdpa flash      the same by the flash kernel (GPU)
  sdpa cudnn      the same by cuDNN's (GPU)
  eager           softmax(q k^T) v, the query heads that share a key head as rows of one product
  torch.compile   "eager", compiled for exactly this shape
  copy            k into a preallocated tensor: as many bytes as reading k and v
  read            k and v by torch's maximum (CPU): as fast as their memory is at that time

FLOP: 4 D for every query head and key. Limit (CPU): k and v at the measured peak of reading.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import processor
import runner
import torch
import torch.nn.functional as F
from harness import Contender
from machine import Copy
from torch.nn.attention import SDPBackend, sdpa_kernel

import intp_ext

HEADS, GQA_HEADS = 32, 8
APART, TOGETHER = "[H, S, D]", "[S, H, D]"


@dataclass(frozen=True)
class Case:
    tokens: int
    dtype: str
    kv_heads: int = HEADS
    heads: int = HEADS
    head_dim: int = 128
    layout: str = APART

    def label(self) -> str:
        shape = f"[1, {self.heads}/{self.kv_heads}, {self.tokens}, {self.head_dim}]"
        return f"decode {shape} {self.dtype}, keys {self.layout}"

    def bytes_moved(self) -> int:
        """k and v read once; q and the output are not counted, they are one row each."""
        return 2 * self.tokens * self.kv_heads * self.head_dim * runner.DTYPES[self.dtype].itemsize

    def flops(self) -> int:
        return 4 * self.head_dim * self.heads * self.tokens


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(4096, "bf16", kv_heads) for kv_heads in (HEADS, GQA_HEADS)]
    found = [Case(tokens, "bf16") for tokens in (4096, 16384, 32768)]
    found += [Case(32768, "bf16", GQA_HEADS)]
    found += [Case(32768, "bf16", heads, layout=TOGETHER) for heads in (HEADS, GQA_HEADS)]
    return [*found, *(Case(32768, "bf16", head_dim=dim) for dim in (40, 80))]


def gpu_cases(quick: bool) -> Sequence[Case]:
    if quick:
        return cases(quick)
    found = [Case(tokens, "bf16") for tokens in (8192, 131072, 32768)]
    return [*found, Case(32768, "bf16", GQA_HEADS)]


def limit(case: Case, peaks: dict) -> float | None:
    """ms; None on a GPU, whose reading is not measured in C++."""
    peak = peaks.get("peak_read_gb_per_s")
    return peak and case.bytes_moved() / peak / 1e6


def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    grouped = q.view(1, k.shape[1], -1, q.shape[-1])  # [1, Hkv, Hq / Hkv, D]
    scores = grouped @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return (scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v).view(q.shape)


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    q, k, v = (
        torch.randn(1, heads, rows, case.head_dim, device=device).to(runner.DTYPES[case.dtype])
        for heads, rows in (
            (case.heads, 1),
            (case.kv_heads, case.tokens),
            (case.kv_heads, case.tokens),
        )
    )
    if case.layout == TOGETHER:
        k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (k, v))
    out, copied = torch.empty_like(q), torch.empty_like(k)
    compiled = torch.compile(eager, dynamic=False)

    def ours(out: torch.Tensor | None = None) -> torch.Tensor:
        return intp_ext.attention(q, k, v, q_offset=case.tokens - 1, out=out)

    def sdpa() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=case.heads > case.kv_heads)

    def sdpa_by(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return sdpa()

    fresh, preallocated = "intp_ext", "intp_ext, out="
    found = [Contender(fresh, ours)]

    def add(name: str, run: Callable[[], torch.Tensor], **options) -> None:
        found.append(Contender(name, run, fresh, **options))

    add("sdpa", sdpa)
    if device.type == "cuda":
        add("sdpa flash", partial(sdpa_by, SDPBackend.FLASH_ATTENTION), optional=True)
        add("sdpa cudnn", partial(sdpa_by, SDPBackend.CUDNN_ATTENTION), optional=True)
    add("eager", lambda: eager(q, k, v))
    add("torch.compile", lambda: compiled(q, k, v), compiled=True)
    found.append(Contender(preallocated, partial(ours, out)))
    found.append(Contender(runner.COPY, lambda: copy(copied, k), preallocated))
    if device.type == "cpu":
        found.append(Contender("read", processor.reader((k, v)), preallocated, same=False))
    return found


BENCHMARK = runner.Benchmark(
    name="decode",
    description=__doc__,
    cases=cases,
    gpu_cases=gpu_cases,
    contenders=contenders,
    limit=limit,
    tolerance={"bf16": 0.01},  # averages of thousands of values are small
)

if __name__ == "__main__":
    sys.exit(runner.run(BENCHMARK))
