"""Attention over a :class:`KVCache`: the public entry and the fakes of the cache's operators."""

from __future__ import annotations

import torch

from . import _checks, compiled_cache, reference
from ._attention import check_scale, check_window
from .kv_cache import KVCache
from .ops import apply_rope
from .window import Window


def cached_attention(
    q: torch.Tensor,
    cache: KVCache,
    *,
    window: Window | None = None,
    kv_bounds: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """Causal attention of the newest tokens over everything in the cache, packed bytes read as
    they are.

    Equivalent eager PyTorch, without rope::

        k, v = cache.dequantize()
        attention(q, k, v, window=window, q_offset=cache.length - Sq, kv_bounds=cache.kv_bounds)

    One token and a chunk of a prompt alike. On the CPU up to 16 rows of a key head (``Sq * Hq /
    Hkv``) read the codes in place: scales and zeros go into the query and the weights. More rows
    unpack one tile after the other into the memory that prefill has anyway. On CUDA codes are
    unpacked in registers, once for every 16 rows. What is expanded is the unfinished group, and,
    with ``rotate="on_read"`` at 16 bits, one rotated copy of the keys for each call.

    Args:
        q: ``[B, Hq, Sq, D]`` in the cache's dtype, the last Sq tokens appended; with a rope they
            come unrotated and are rotated here, by their tokens' positions. ``Hq`` is a multiple of
            the cache's heads.
        cache: with at least Sq tokens.
        window: :class:`Window`; None for full causal attention.
        kv_bounds: int32 ``[B, 2]``: row b sees tokens ``lo <= j < hi``; None for the cache's own.
        scale: factor on the scores; None for ``D ** -0.5``.

    Returns:
        ``[B, Hq, Sq, D]`` in q's dtype. A row that sees no key is zero.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes or devices that do not fit, an empty cache, q that requires grad.
    """
    where = "cached_attention"
    if not isinstance(cache, KVCache):
        raise TypeError(f"{where}: cache: expected a KVCache, got {type(cache).__name__}")
    if cache.capacity is not None and torch.compiler.is_compiling():
        return compiled_cache.attention(q, cache, window, kv_bounds, scale)
    _check(where, q, cache)
    check_window(where, window, q.shape[0], q.device)
    check_scale(where, scale)
    batch, _, rows, dim = q.shape
    if kv_bounds is None:
        kv_bounds = cache._held.bounds
    else:
        _checks.kv_bounds(where, kv_bounds, batch, "q", q)
    length, packed, rope, positions = (
        cache.length,
        cache.packed,
        cache.rope,
        cache._kept_positions(),
    )
    if rope is not None and rows:
        q, _ = apply_rope(q, None, positions[..., length - rows :], rope)
    k, v = cache.rows()
    on_read = cache.rotate == "on_read"
    if on_read and k.shape[2]:
        _, k = apply_rope(None, k, positions[..., packed:], rope)
    bounds = reference.pack_bounds(batch, length, q.device, window, length - rows, kv_bounds)
    options = (None, 1, 0) if window is None else (window.size, window.block, window.sink)
    scale = dim**-0.5 if scale is None else float(scale)
    if packed == 0:
        return torch.ops.intp_ext.attention_core(q, k, v, bounds, *options, scale)
    return torch.ops.intp_ext.kv_attention(
        q,
        k,
        v,
        *cache.pages(),
        bounds,
        length,
        cache.bits,
        cache.key_group,
        cache.value_group,
        *options,
        scale,
        positions if on_read else None,
        rope.inv_freq.contiguous() if on_read else None,
        rope.attention_scaling if on_read else 1.0,
    )


def _check(where: str, q: torch.Tensor, cache: KVCache) -> None:
    _checks.tensor(where, "q", q, _checks.FLOATS)
    if q.dim() != 4:
        raise ValueError(f"{where}: q: expected [B, Hq, Sq, D], got {list(q.shape)}")
    if cache.shape is None:
        raise ValueError(f"{where}: cache: expected tokens, got an empty cache")
    batch, heads, length, dim = cache.shape
    if q.dtype != cache.dtype:
        raise TypeError(f"{where}: q: expected the cache's {cache.dtype}, got {q.dtype}")
    if q.device != cache.device:
        raise ValueError(f"{where}: q: expected on {cache.device}, got {q.device}")
    if q.shape[0] != batch or q.shape[3] != dim or heads == 0 or q.shape[1] % heads:
        raise ValueError(
            f"{where}: q: expected batch {batch}, head_dim {dim} and a multiple of {heads} heads, "
            f"got {list(q.shape)}"
        )
    if q.shape[2] > length:
        raise ValueError(
            f"{where}: q: expected at most the {length} tokens of the cache, got {q.shape[2]} rows"
        )
    _checks.unit_stride(where, "q", q)
    _checks.no_grad(where, "q", q)


@torch.library.register_fake("intp_ext::kv_append")
def _append_fake(*args):
    return None


@torch.library.register_fake("intp_ext::kv_attention")
def _attention_fake(q, *args):
    batch, heads, rows, dim = q.shape
    if q.stride(1) < q.stride(2):  # as in csrc/attention/attention_run.h
        return q.new_empty(batch, rows, heads, dim).transpose(1, 2)
    return q.new_empty(batch, heads, rows, dim)
