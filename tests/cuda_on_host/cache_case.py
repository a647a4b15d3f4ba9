"""Calls of KVCache over the CUDA kernels, and an AssertionError where those are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from cuda_on_host import comparisons
from cuda_on_host.build import Library
from ops.guarded import poisoned_rows
from ops.kv_checks import (
    assert_stores,
    expected_attention,
    make_queries,
    poison_sinks,
    seen_keys,
)
from ops.kv_inputs import make_states
from tolerance import assert_as_good_as_eager

import intp_ext
from intp_ext import KVCache, Rope, Window, cached_attention, reference

OPERATORS = (
    "apply_rope",
    "apply_rope_no_grad",
    "attention_core",
    "attention_core_no_grad",
    "kv_append",
    "kv_attention",
)


@contextmanager
def cuda_operators(library: Library) -> Iterator[None]:
    """What intp_ext calls for CPU tensors are the CUDA kernels."""
    ours = {name: getattr(torch.ops.intp_ext, name) for name in OPERATORS}
    for name in OPERATORS:
        setattr(torch.ops.intp_ext, name, getattr(library.ops, name))
    try:
        yield
    finally:
        for name, operator in ours.items():
            setattr(torch.ops.intp_ext, name, operator)


def guard_buffers(cache: KVCache, like: torch.Tensor, length: int) -> list:
    """Reserves memory for so many tokens, poisoned and between guards."""
    guards = []
    for name, x in cache._memory.reserve("case", like, length).items():
        fill = 255 if x.dtype == torch.uint8 else float("nan")
        guards.append(comparisons.Guarded(x.shape, x.dtype, fill))
        cache._buffers[name] = guards[-1].tensor
    return guards


@dataclass(frozen=True)
class AppendCase:
    bits: int = 4
    dtype: torch.dtype = torch.bfloat16
    batch: int = 1
    heads: int = 2
    dim: int = 32
    pieces: tuple[int, ...] = (150,)  # tokens of each call
    rope: Rope | None = None
    rotate: str = "on_write"
    axes: int = 1  # of the positions
    order: bool = False  # rows of k and v in any order, with one that is not there
    bounds: tuple[tuple[int, int], ...] | None = None
    key_group: int = 64
    value_group: int = 64
    recent: int = 0
    sink: int = 0
    layout: str = "transposed"  # "contiguous", or "poisoned": every second row, the others NaN
    multiprocessors: int = 1
    seed: int = 0

    def check(self, library: Library) -> None:
        """Bit for bit what the definition makes of what apply_rope gives."""
        torch.manual_seed(self.seed)
        library.set_multiprocessors(self.multiprocessors)
        length = sum(self.pieces)
        k, v = make_states(self.batch, self.heads, length, self.dim, self.dtype, self.seed)
        positions = (torch.rand(self.batch, length) * 900).to(torch.float32)
        if self.axes == 3:
            positions = torch.rand(3, self.batch, length) * 900
        kept = None
        if self.bounds is not None:
            index = torch.arange(length)
            lo, hi = torch.tensor(self.bounds, dtype=torch.int32).unbind(1)
            kept = (lo[:, None] <= index) & (index < hi[:, None])
            if not self.order:  # then padding is what stands there, not what lies there
                k, v = (x.masked_fill(~kept[:, None, :, None], float("nan")) for x in (k, v))
        orders = self.orders()
        expected = self.definition(library, k, v, positions, orders)
        for descending in comparisons.SCHEDULES:
            cache = KVCache(
                self.bits, rope=self.rope, rotate=self.rotate, key_group=self.key_group,
                value_group=self.value_group, recent=self.recent, sink=self.sink, capacity=length,
            )  # fmt: skip
            guards = guard_buffers(cache, k, length)
            begin = 0
            for count, order in zip(self.pieces, orders, strict=True):
                piece = slice(begin, begin + count)
                begin += count
                bounds = None
                if self.bounds is not None:
                    bounds = torch.tensor(self.bounds, dtype=torch.int32).clamp(max=begin)
                with cuda_operators(library), library.schedule(descending):
                    cache.append(
                        *(self.laid_out(x[:, :, piece]) for x in (k, v)),
                        positions[..., piece] if self.rope is not None else None,
                        order=order,
                        kv_bounds=bounds,
                    )
            assert_stores(cache, *expected, kept)
            for guard in guards:
                guard.assert_intact()
            for name, x in cache._buffers.items():  # what is only reserved was not written
                rest = x[:, :, cache._memory.used()[name].shape[2] :]
                if not name.endswith(("rows", "sinks")):
                    assert (rest == 255).all() if x.dtype == torch.uint8 else rest.isnan().all()

    def orders(self) -> list[torch.Tensor | None]:
        if not self.order:
            return [None] * len(self.pieces)
        return [
            comparisons.random_order(self.batch, count, max(1, count), torch.int32, bad=True)
            for count in self.pieces
        ]

    def definition(self, library, k, v, positions, orders):
        """Keys and values as they are cached in 16 bits."""
        found, begin = [], 0
        for count, order in zip(self.pieces, orders, strict=True):
            piece = slice(begin, begin + count)
            begin += count
            new_k, new_v = k[:, :, piece], v[:, :, piece]
            if order is not None:
                good = comparisons.inside(order, count)
                new_k, new_v = (
                    reference.gather_tokens(x, torch.where(good, order, 0)).where(
                        good[:, None, :, None], 0.0
                    )
                    for x in (new_k, new_v)
                )
            if self.rope is not None and self.rotate == "on_write":
                with cuda_operators(library):
                    _, new_k = intp_ext.apply_rope(None, new_k, positions[..., piece], self.rope)
            found.append((new_k, new_v))
        return [torch.cat(x, dim=2) for x in zip(*found, strict=True)]

    def laid_out(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == "poisoned":
            return poisoned_rows(x, 2)
        if self.layout == "contiguous":
            return x.contiguous().clone()
        return x.transpose(1, 2).contiguous().transpose(1, 2)


@dataclass(frozen=True)
class CachedCase:
    """Attention of the last rows over a cache."""

    bits: int = 4
    dtype: torch.dtype = torch.bfloat16
    batch: int = 1
    kv_heads: int = 1
    group: int = 2
    rows: int = 1
    length: int = 300
    dim: int = 64
    rope: Rope | None = None
    rotate: str = "on_write"
    uneven: bool = False  # positions in no even steps
    axes: int = 1  # of the positions
    window: Window | None = None
    pad: int = 0  # batch row b begins with b times so many tokens of padding
    key_group: int = 64
    value_group: int = 64
    recent: int = 0
    sink: int = 0
    shifted: bool = False  # q one element from an address on 16 bytes
    scale: float | None = None
    softcap: float | None = None
    sinks: tuple[float, ...] | None = None  # of each head
    multiprocessors: int = 1
    seed: int = 0

    def check(self, library: Library) -> None:
        """The 2x rule in both schedules, with poison in everything that no query sees."""
        torch.manual_seed(self.seed)
        library.set_multiprocessors(self.multiprocessors)
        cache = self.cache()
        q = self.queries(cache)
        sinks = None if self.sinks is None else torch.tensor(self.sinks)
        scores = {"scale": self.scale, "softcap": self.softcap, "sinks": sinks}
        eager, exact = expected_attention(cache, q, self.window, **scores)
        self.poison(cache)
        results = []
        for descending in comparisons.SCHEDULES:
            with cuda_operators(library), library.schedule(descending):
                out = cached_attention(q, cache, window=self.window, **scores)
            assert_as_good_as_eager(out, eager, exact)
            results.append(out)
        assert torch.equal(*results)  # no result depends on who comes first

    def queries(self, cache: KVCache) -> torch.Tensor:
        q = make_queries(cache, self.group, self.rows, self.seed)
        return torch.cat((q.flatten()[:1], q.flatten()))[1:].view(q.shape) if self.shifted else q

    def cache(self) -> KVCache:
        """Written by the CPU kernels, in memory that ends where it ends."""
        k, v = make_states(self.batch, self.kv_heads, self.length, self.dim, self.dtype, self.seed)
        k[:, :, :, 1:3] /= 10  # a softmax of one winner would hide every error,
        v[:, :, self.length // 2] /= 10  # and one large value allow for more
        cache = KVCache(
            self.bits, rope=self.rope, rotate=self.rotate, key_group=self.key_group,
            value_group=self.value_group, recent=self.recent, sink=self.sink,
            capacity=self.length + 130,
        )  # fmt: skip
        guard_buffers(cache, k, self.length)
        lo = torch.arange(self.batch, dtype=torch.int32) * self.pad
        bounds = torch.stack((lo, torch.full_like(lo, self.length)), dim=1)
        positions = None
        if self.rope is not None:
            positions = (torch.arange(self.length) - lo[:, None]).clamp(min=0) * 0.8
            if self.uneven:
                positions = torch.rand(self.batch, self.length).cumsum(1) * 3
            if self.axes == 3:
                positions = torch.rand(3, self.batch, self.length) * 900
        cache.append(k, v, positions, kv_bounds=bounds if self.pad else None)
        return cache

    def poison(self, cache: KVCache) -> None:
        poison_sinks(cache)
        nan = float("nan")
        unseen = ~seen_keys(cache, self.rows, self.window).any(1)  # [B, length]
        for name, x in cache._buffers.items():
            used = cache._memory.used()[name].shape[2]
            x[:, :, used:] = 255 if x.dtype == torch.uint8 else nan
            if name.endswith("sinks"):
                continue
            if name.endswith("rows"):
                tokens, part = 1, unseen[:, cache.packed :]
            else:
                tokens = self.key_group if name == "k_ranges" else 64
                part = unseen[:, : cache.packed]
            hidden = part.unflatten(1, (-1, tokens)).all(2) if used else part[:, :0]
            if x.dtype != torch.uint8:
                for b in range(self.batch):
                    x[b, :, :used][:, hidden[b]] = nan
