"""A :class:`KVCache` inside ``torch.compile``: two operators that a graph sees as one call each.

The length of a cache changes at every token. As a Python int it would be a constant of the graph,
which would be compiled anew each time; so in a graph the length is a tensor on the CPU, and these
operators read it and run the eager methods. They need a ``capacity``: buffers that never move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .rope import Rope
from .window import Window

if TYPE_CHECKING:
    from .kv_cache import KVCache

# a cache with its rope, as a schema can say it
_CACHE = (
    "Tensor{0} length, Tensor{1}[] buffers, Tensor{2}? positions, Tensor{3}? bounds, "
    "Tensor? inv_freq, float attention_scaling, int[]? sections, bool interleaved_sections, "
    "int bits, str rotate, int key_group, int value_group, int capacity"
)
_library = torch.library.Library("intp_ext", "FRAGMENT")
_library.define(
    "kv_cache_append(Tensor k, Tensor v, Tensor? at, Tensor? order, Tensor? kv_bounds, "
    + _CACHE.format("(a!)", "(b!)", "(c!)", "(d!)")
    + ") -> ()"
)
_library.define(
    "kv_cache_attention(Tensor q, int? window, int block, int sink, Tensor? block_start, "
    "Tensor? dense_from, Tensor? kv_bounds, float? scale, "
    + _CACHE.format("", "", "", "")
    + ") -> Tensor"
)


def append(
    cache: KVCache,
    k: torch.Tensor,
    v: torch.Tensor,
    positions: torch.Tensor | None,
    order: torch.Tensor | None,
    kv_bounds: torch.Tensor | None,
) -> None:
    """``cache.append`` in a graph; the cache has memory for what it is to hold."""
    torch.ops.intp_ext.kv_cache_append(k, v, positions, order, kv_bounds, *_as_arguments(cache))


def attention(
    q: torch.Tensor,
    cache: KVCache,
    window: Window | None,
    kv_bounds: torch.Tensor | None,
    scale: float | None,
) -> torch.Tensor:
    """``cached_attention`` in a graph."""

    def column(value: int | torch.Tensor | None) -> torch.Tensor | None:
        if value is None or isinstance(value, torch.Tensor):
            return value
        return q.new_full((q.shape[0],), value, dtype=torch.int32)

    visibility: tuple = (None, 1, 0, None, None)
    if window is not None:
        visibility = (
            window.size, window.block, window.sink,
            column(window.block_start), column(window.dense_from),
        )  # fmt: skip
    return torch.ops.intp_ext.kv_cache_attention(
        q, *visibility, kv_bounds, scale, *_as_arguments(cache)
    )


def _as_arguments(cache: KVCache) -> tuple:
    held, rope = cache._held, cache.rope
    turn: tuple = (None, 1.0, None, False)
    if rope is not None:
        sections = None if rope.sections is None else list(rope.sections)
        turn = (rope.inv_freq, rope.attention_scaling, sections, rope.interleaved_sections)
    return (
        held.place, list(held.buffers.values()), held.positions, held.bounds, *turn,
        cache.bits, cache.rotate, cache.key_group, cache.value_group, cache.capacity,
    )  # fmt: skip


def _from_arguments(
    length, buffers, positions, bounds,
    inv_freq, attention_scaling, sections, interleaved_sections,
    bits, rotate, key_group, value_group, capacity,
) -> KVCache:  # fmt: skip
    from .kv_cache import _BUFFERS, KVCache, _Held

    rope = None
    if inv_freq is not None:
        rope = Rope(inv_freq, attention_scaling, sections, interleaved_sections)
    cache = KVCache(
        bits, rope=rope, rotate=rotate, key_group=key_group, value_group=value_group,
        capacity=capacity,
    )  # fmt: skip
    named = dict(zip(_BUFFERS, buffers, strict=True))
    cache._held = _Held(named, positions, bounds, int(length))
    return cache


@torch.library.impl(_library, "kv_cache_append", "CompositeExplicitAutograd")
def _append(k, v, at, order, kv_bounds, length, buffers, positions, bounds, *options):
    cache = _from_arguments(length, buffers, positions, bounds, *options)
    cache.append(k, v, at, order=order, kv_bounds=kv_bounds)
    held = cache._held
    for mine, theirs in zip(
        (*buffers, positions, bounds),
        (*held.buffers.values(), held.positions, held.bounds),
        strict=True,
    ):
        if theirs is not mine:  # prepared in memory of its own: see KVCache._reserve
            mine.copy_(theirs)
    length.fill_(held.length)


@torch.library.impl(_library, "kv_cache_attention", "CompositeExplicitAutograd")
def _attention(q, window, block, sink, block_start, dense_from, kv_bounds, scale, *cache):
    from ._cached_attention import cached_attention

    seen = None
    if window is not None:
        seen = Window(window, block, 0 if block_start is None else block_start, sink, dense_from)
    return cached_attention(
        q, _from_arguments(*cache), window=seen, kv_bounds=kv_bounds, scale=scale
    )


@torch.library.register_fake("intp_ext::kv_cache_append", lib=_library)
def _append_fake(*args):
    return None


@torch.library.register_fake("intp_ext::kv_cache_attention", lib=_library)
def _attention_fake(q, *args):
    batch, heads, rows, dim = q.shape
    if q.stride(1) < q.stride(2):  # as in csrc/attention/attention_run.h
        return q.new_empty(batch, rows, heads, dim).transpose(1, 2)
    return q.new_empty(batch, heads, rows, dim)
