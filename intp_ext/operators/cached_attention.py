"""Attention over a :class:`KVCache`: the public entry and the fakes of the cache's operators."""

from __future__ import annotations

import torch

from .. import _checks
from .._ops import add_op_namespace_prefix, ops
from ..kv_cache import KVCache
from ..kv_memory import SINKS
from ..window import Bounds, Window, check_bounds, sizes_of
from .apply_rope import rotate
from .attention import (
    attend,
    check_scale,
    check_softcap,
    core_arguments,
    float_sinks,
    result_like,
)


def cached_attention(
    q: torch.Tensor,
    cache: KVCache,
    *,
    window: Window | None = None,
    kv_bounds: torch.Tensor | None = None,
    bounds: Bounds | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention of the newest tokens over the whole cache, whose packed bytes it reads.

    Equivalent eager PyTorch, without rope::

        k, v = cache.dequantize()
        attention(q, k, v, window=window, q_offset=cache.length - Sq, kv_bounds=cache.kv_bounds)

    It takes one token or a chunk of a prompt. On the CPU, up to 16 rows per key head (``Sq * Hq /
    Hkv``) read the codes in place: scales and zeros go into the query and the weights. For more
    rows, one tile after another is unpacked into the memory that prefill has anyway. On CUDA, codes
    are unpacked in registers, once for every 16 rows. The only other copies are of the tokens that
    are kept exact and, with ``rotate="on_read"`` at 16 bits, one rotated copy of the keys per call.

    Args:
        q: ``[B, Hq, Sq, D]`` in the cache's dtype, the last Sq tokens appended; with a rope they
            come unrotated and are rotated here, by their tokens' positions. ``Hq`` is a multiple of
            the cache's heads.
        cache: with at least Sq tokens.
        window: :class:`Window`; None for full causal attention.
        kv_bounds: int32 ``[B, 2]``: row b sees tokens ``lo <= j < hi``; None for the cache's own.
        bounds: replaces ``window`` and ``kv_bounds``, with ``q_offset = length - Sq``, for the
            caches of several layers that share them (:class:`Bounds`).
        scale: factor on the scores; None for ``D ** -0.5``.
        softcap, sinks: as :func:`intp_ext.attention` takes them.

    Returns:
        ``[B, Hq, Sq, D]`` in q's dtype. A row that sees no key is zero.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes or devices that do not fit, an empty cache, q or sinks that require
            grad.
    """
    where = "cached_attention"
    if not isinstance(cache, KVCache):
        raise TypeError(f"{where}: cache: expected a KVCache, got {type(cache).__name__}")
    if cache.capacity is not None and torch.compiler.is_compiling():
        check_scale(where, scale)
        _checks.no_grad(where, "q", q)
        sinks = _check_scores(where, softcap, sinks, q)
        if bounds is not None:
            check_bounds(where, bounds, q, window=window, kv_bounds=kv_bounds)
        return _in_graph(q, cache, window, kv_bounds, bounds, scale, softcap, sinks)
    _check(where, q, cache)
    check_scale(where, scale)
    sinks = _check_scores(where, softcap, sinks, q)
    if bounds is None:
        length = cache.length
        kv_bounds = cache._memory.bounds if kv_bounds is None else kv_bounds
        bounds = Bounds.of_call(window, q, length, length - q.shape[2], kv_bounds, where)
    else:
        check_bounds(where, bounds, q, window=window, kv_bounds=kv_bounds)
    scale = q.shape[3] ** -0.5 if scale is None else float(scale)
    return attend_cached(q, cache, bounds, scale, softcap, sinks)


def attend_cached(
    q: torch.Tensor,
    cache: KVCache,
    bounds: Bounds,
    scale: float,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`cached_attention`, for callers who have checked what they pass on: nothing is checked
    here but what keeps the kernels inside their memory; ``sinks`` are contiguous float32."""
    if cache.capacity is not None and torch.compiler.is_compiling():
        return _in_graph(q, cache, None, None, bounds, scale, softcap, sinks)
    rows = q.shape[2]
    memory, rope = cache._memory, cache.rope
    length, packed = memory.counts
    positions = memory.used_positions()
    if rope is not None and positions is not None and rows:
        q = rotate(q, positions[..., length - rows :], rope)
    k, v = cache.rows()
    turn = rope if cache.rotate == "on_read" else None
    if turn is not None and positions is not None and k.shape[2]:
        k = rotate(k, positions[..., packed:], turn)
    if packed == 0:
        return attend(q, k, v, bounds, scale, softcap, sinks)
    k_sinks, v_sinks = (memory.buffers[name] for name in SINKS)
    sink_positions = None if turn is None else memory.sink_positions()
    if turn is not None and sink_positions is not None:
        k_sinks = rotate(k_sinks, sink_positions, turn)
    sections = None if turn is None or turn.sections is None else list(turn.sections)
    return ops.kv_attention(
        q,
        k,
        v,
        *cache.pages(),
        k_sinks,
        v_sinks,
        memory.first,
        length,
        packed,
        cache.key_bits,
        cache.value_bits,
        cache.key_group,
        cache.value_group,
        None if turn is None else positions,
        None if turn is None else turn.inv_freq.contiguous(),
        1.0 if turn is None else turn.attention_scaling,
        sections,
        turn is not None and turn.interleaved_sections,
        *core_arguments(bounds, scale, softcap, sinks),
    )


def _in_graph(
    q: torch.Tensor,
    cache: KVCache,
    window: Window | None,
    kv_bounds: torch.Tensor | None,
    bounds: Bounds | None,
    scale: float | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Under ``torch.compile``: one operator, whose graph fits every length (cache_in_graph.py)."""

    def column(value: int | torch.Tensor | None) -> torch.Tensor | None:
        if value is None or isinstance(value, torch.Tensor):
            return value
        return q.new_full((q.shape[0],), value, dtype=torch.int32)

    made = None if bounds is None else bounds.rows
    sizes = sizes_of(bounds if window is None else window)
    seen = bounds if window is None else window
    first_key = None if seen is None else seen.first_key
    start, dense = (None, None) if window is None else (window.block_start, window.dense_from)
    return ops.kv_cache_attention(
        q,
        made,
        *sizes,
        column(start),
        column(dense),
        first_key,
        kv_bounds,
        scale,
        softcap,
        sinks,
        *cache.graph_arguments(),
    )


def _check_scores(
    where: str, softcap: float | None, sinks: object, q: torch.Tensor
) -> torch.Tensor | None:
    check_softcap(where, softcap)
    found = float_sinks(where, sinks, q)
    if found is not None:
        _checks.no_grad(where, "sinks", found)
    return found


def _check(where: str, q: torch.Tensor, cache: KVCache) -> None:
    shape = _checks.states(where, "q", q, "[B, Hq, Sq, D]")
    cached = cache.shape
    if cached is None:
        raise ValueError(f"{where}: cache: expected tokens, got an empty cache")
    batch, heads, length, dim = cached
    if q.dtype != cache.dtype:
        raise TypeError(f"{where}: q: expected the cache's {cache.dtype}, got {q.dtype}")
    if q.device != cache.device:
        raise ValueError(f"{where}: q: expected on {cache.device}, got {q.device}")
    if shape[0] != batch or shape[3] != dim or heads == 0 or shape[1] % heads:
        raise ValueError(
            f"{where}: q: expected batch {batch}, head_dim {dim} and a multiple of {heads} heads, "
            f"got {list(shape)}"
        )
    if shape[2] > length:
        raise ValueError(
            f"{where}: q: expected at most the {length} tokens of the cache, got {shape[2]} rows"
        )
    _checks.no_grad(where, "q", q)


@torch.library.register_fake(add_op_namespace_prefix("kv_append"))
def _append_fake(*args: object) -> None:
    return None


@torch.library.register_fake(add_op_namespace_prefix("kv_attention"))
def _attention_fake(q: torch.Tensor, *args: object) -> torch.Tensor:
    return result_like(q)
