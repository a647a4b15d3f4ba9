"""A :class:`intp_ext.KVCache` inside ``torch.compile``: two operators, each one call in a graph.

The length of a cache changes at every token. As a Python int it would be a constant of the graph,
which would be compiled anew each time; so in a graph the length, and how many tokens are packed,
are a tensor on the CPU, and these operators read it and run the eager methods. They need a
``capacity``: buffers that never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .._ops import add_op_namespace_prefix, ops
from ..kv_cache import KVCache
from ..rope import Rope
from ..window import Bounds, Window
from .attention import result_like
from .cached_attention import cached_attention

# what KVCache.graph_arguments gives
_CACHE = (
    "Tensor{0} place, Tensor{1}[] buffers, Tensor{2}? positions, Tensor{3}? padding, "
    "Tensor{4}? first, "
    "Tensor? inv_freq, float attention_scaling, int[]? sections, bool interleaved_sections, "
    "float bits, str rotate, int key_group, int value_group, int recent, int sink, int capacity"
)
_library = torch.library.Library(ops.name, "FRAGMENT")
_library.define(
    "kv_cache_append(Tensor k, Tensor v, Tensor? at, Tensor? order, Tensor? kv_bounds, "
    + _CACHE.format("(a!)", "(b!)", "(c!)", "(d!)", "(e!)")
    + ") -> ()"
)
_library.define(
    "kv_cache_attention(Tensor q, Tensor? bounds, int? window, int block, int sink, "
    "Tensor? block_start, Tensor? dense_from, Tensor? first_key, Tensor? kv_bounds, "
    "float? scale, float? softcap, Tensor? sinks, " + _CACHE.format(*[""] * 5) + ") -> Tensor"
)


def _cache(
    place: torch.Tensor,
    buffers: Sequence[torch.Tensor],
    positions: torch.Tensor | None,
    padding: torch.Tensor | None,
    first: torch.Tensor | None,
    inv_freq: torch.Tensor | None,
    attention_scaling: float,
    sections: Sequence[int] | None,
    interleaved_sections: bool,
    bits: float,
    rotate: str,
    key_group: int,
    value_group: int,
    recent: int,
    sink: int,
    capacity: int,
) -> KVCache:
    rope = None
    if inv_freq is not None:
        rope = Rope(inv_freq, attention_scaling, sections, interleaved_sections)
    cache = KVCache(
        bits, rope=rope, rotate=rotate, key_group=key_group, value_group=value_group,
        recent=recent, sink=sink, capacity=capacity,
    )  # fmt: skip
    length, packed = place.tolist()
    cache.hold(buffers, positions, padding, first, (length, packed))
    return cache


@torch.library.impl(_library, "kv_cache_append", "CompositeExplicitAutograd")
def _append(
    k: torch.Tensor,
    v: torch.Tensor,
    at: torch.Tensor | None,
    order: torch.Tensor | None,
    kv_bounds: torch.Tensor | None,
    place: torch.Tensor,
    buffers: Sequence[torch.Tensor],
    positions: torch.Tensor | None,
    padding: torch.Tensor | None,
    first: torch.Tensor | None,
    *options: Any,
) -> None:
    cache = _cache(place, buffers, positions, padding, first, *options)
    cache.append(k, v, at, order=order, kv_bounds=kv_bounds)
    now_buffers, now_others = cache.held()
    mine_and_theirs = zip(
        (*buffers, positions, padding, first), (*now_buffers, *now_others), strict=True
    )
    for mine, theirs in mine_and_theirs:
        if theirs is not mine:  # prepared in memory of its own: see Memory.reserve
            assert mine is not None and theirs is not None
            mine.copy_(theirs)
    place.copy_(torch.tensor((cache.length, cache.packed)))


@torch.library.impl(_library, "kv_cache_attention", "CompositeExplicitAutograd")
def _attention(
    q: torch.Tensor,
    bounds: torch.Tensor | None,
    size: int | None,
    block: int,
    sink: int,
    block_start: torch.Tensor | None,
    dense_from: torch.Tensor | None,
    first_key: torch.Tensor | None,
    kv_bounds: torch.Tensor | None,
    scale: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
    *cache: Any,
) -> torch.Tensor:
    window, made = None, None
    if bounds is not None:
        made = Bounds(bounds, size, block, sink, first_key)
    elif first_key is not None:
        window = Window(sink=sink, dense_from=dense_from, first_key=first_key)
    elif size is not None:
        window = Window(size, block, 0 if block_start is None else block_start, sink, dense_from)
    return cached_attention(
        q,
        _cache(*cache),
        window=window,
        kv_bounds=kv_bounds,
        bounds=made,
        scale=scale,
        softcap=softcap,
        sinks=sinks,
    )


@torch.library.register_fake(add_op_namespace_prefix("kv_cache_append"), lib=_library)
def _append_fake(*args: object) -> None:
    return None


@torch.library.register_fake(add_op_namespace_prefix("kv_cache_attention"), lib=_library)
def _attention_fake(q: torch.Tensor, *args: object) -> torch.Tensor:
    return result_like(q)
