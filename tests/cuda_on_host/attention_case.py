"""A call of attention_core, and an AssertionError where the CUDA kernels are wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from cuda_on_host import comparisons
from cuda_on_host.build import Library
from ops.eager_attention import eager_attention
from tolerance import assert_as_good_as_eager

from intp_ext import Bounds, Window, reference

LAYOUTS = ("transposed", "contiguous", "cache", "shifted")


def states(shape: tuple[int, int, int, int], dtype: torch.dtype, layout: str) -> torch.Tensor:
    """``[B, H, S, D]`` of random numbers; what lies between is NaN.

    transposed: of ``[B, S, H, D]``. cache: the first rows of a longer one, every second head.
    shifted: one element from an address on 16 bytes.
    """
    batch, heads, length, dim = shape
    if layout == "cache":
        x = torch.full((batch, 2 * heads, length + 9, dim), float("nan")).to(dtype)[:, ::2, :length]
    elif layout == "shifted":
        flat = torch.full((batch * heads * length * dim + 1,), float("nan")).to(dtype)
        x = flat[1:].view(batch, length, heads, dim).transpose(1, 2)
    elif layout == "transposed":
        x = torch.empty(batch, length, heads, dim, dtype=dtype).transpose(1, 2)
    else:
        x = torch.empty(shape, dtype=dtype)
    return x.copy_(torch.randn(shape))


@dataclass(frozen=True)
class AttentionCase:
    batch: int = 1
    kv_heads: int = 1
    group: int = 1
    rows: int = 70
    keys: int = 100
    dim: int = 64
    dtype: torch.dtype = torch.bfloat16
    layout: str = "transposed"
    window: Window | None = None
    q_offset: int | tuple[int, ...] | None = None  # None: the last queries; or one a batch row
    kv_bounds: tuple[tuple[int, int], ...] | None = None
    scale: float | None = None
    value_dim: int | None = None  # None: as wide as keys
    softcap: float | None = None
    sinks: tuple[float, ...] | None = None  # in turn
    multiprocessors: int = 1
    seed: int = 0

    def check(self, library: Library) -> None:
        """The 2x rule in both schedules, with NaN in every key and value that no query sees."""
        torch.manual_seed(self.seed)
        heads, key_shape = self.kv_heads * self.group, (self.batch, self.kv_heads, self.keys)
        q = states((self.batch, heads, self.rows, self.dim), self.dtype, self.layout)
        value_dim = self.dim if self.value_dim is None else self.value_dim
        k, v = (states((*key_shape, n), self.dtype, self.layout) for n in (self.dim, value_dim))
        bounds = self.bounds()
        scale = self.dim**-0.5 if self.scale is None else self.scale
        sizes, first_key = (bounds.size, bounds.block, bounds.sink), bounds.first_key
        seen = reference.visible(
            bounds.rows, torch.arange(self.rows), torch.arange(self.keys), *sizes, first_key
        )
        sinks = None if self.sinks is None else torch.tensor(self.sinks).repeat(heads)[:heads]
        arguments = (bounds.rows, *sizes, scale, first_key, self.softcap, sinks)
        eager = eager_attention(q, k, v, seen, scale, self.softcap, sinks)
        exact = reference.attention_core(*(x.double() for x in (q, k, v)), *arguments)
        for x in (k, v):
            x.masked_fill_(~seen.any(1)[:, None, :, None], float("nan"))
        library.set_multiprocessors(self.multiprocessors)
        results = []
        for descending in comparisons.SCHEDULES:
            offset = 1 if self.layout == "shifted" else 0
            shape = (self.batch, self.rows, heads, value_dim)
            guard = comparisons.Guarded((math.prod(shape) + offset,), self.dtype)
            out = guard.tensor[offset:].view(shape).transpose(1, 2)
            with library.schedule(descending):
                library.ops.attention_core.out(q, k, v, *arguments, out=out)
            assert_as_good_as_eager(out, eager, exact)
            guard.assert_intact()
            results.append(out.clone())
        assert torch.equal(*results)  # no result depends on who comes first

    def bounds(self) -> Bounds:
        q_offset = self.keys - self.rows if self.q_offset is None else self.q_offset
        if not isinstance(q_offset, int):
            q_offset = torch.tensor(q_offset, dtype=torch.int32)
        kv_bounds = None
        if self.kv_bounds is not None:
            kv_bounds = torch.tensor(self.kv_bounds, dtype=torch.int32)
        return Bounds.of(
            self.window,
            batch=self.batch,
            queries=self.rows,
            keys=self.keys,
            device=torch.device("cpu"),
            q_offset=q_offset,
            kv_bounds=kv_bounds,
        )
