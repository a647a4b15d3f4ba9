"""What a cache must hold, and what attention over it must give: held to the definition."""

from __future__ import annotations

import torch
from ops.eager_attention import eager_attention, of_last_rows
from ops.kv_inputs import dequantized
from tolerance import allowed_error, assert_as_good_as_eager

from intp_ext import Bounds, KVCache, cached_attention, reference, reference_kv


def assert_same(a: KVCache, b: KVCache) -> None:
    """Bit for bit, and in the tokens that are packed."""
    assert (a.length, a.packed, a.nbytes) == (b.length, b.packed, b.nbytes)
    for name, tensor in a.state_dict()["tensors"].items():
        assert torch.equal(tensor, b.state_dict()["tensors"][name]), name


def assert_stores(cache: KVCache, k, v, kept=None) -> None:
    """The codes, scales, zeros, rows and sinks that the definition gives for k and v."""
    packed, state = cache.packed, cache.state_dict()["tensors"]
    state = {name: x.cpu() for name, x in state.items()}
    if kept is not None:
        k, v = (x.where(kept[:, None, :, None], 0.0) for x in (k, v))
    if cache.sink and cache.bits != 16:
        kept = kept_beside_sinks(cache, k, v, kept)
    if kept is not None:
        kept = kept[:, :packed]
    assert torch.equal(state["k_rows"], k[:, :, packed:])
    assert torch.equal(state["v_rows"], v[:, :, packed:])
    if not packed:
        return
    k, v = k[:, :, :packed], v[:, :, :packed]
    if kept is not None:
        k = k.where(kept[:, None, :, None], 0.0)
    codes, ranges = reference_kv.quantize_keys(k, cache.key_bits, cache.key_group, kept)
    assert torch.equal(state["k_ranges"], ranges)
    places = reference_kv.key_places(cache.key_bits, k.shape[3])
    assert torch.equal(state["k_codes"], reference_kv.pack(codes, cache.key_bits, places))
    codes, ranges = reference_kv.quantize_values(v, cache.value_bits, cache.value_group, kept)
    assert torch.equal(state["v_ranges"], ranges)
    places = reference_kv.value_places(cache.value_bits, k.shape[3])
    assert torch.equal(state["v_codes"], reference_kv.pack(codes, cache.value_bits, places))


def kept_beside_sinks(cache: KVCache, k, v, kept) -> torch.Tensor:
    """bool ``[B, S]``: what takes part in ranges; where each row begins, and its sink, is checked
    here."""
    length, state = k.shape[2], cache.state_dict()
    kept = torch.ones(k.shape[0], length, dtype=torch.bool) if kept is None else kept
    first = torch.where(kept.any(1), kept.int().argmax(1), reference_kv.NO_TOKEN)
    assert state["first"].tolist() == first.tolist()
    slots = torch.arange(min(cache.sink, length))
    tokens = first[:, None] + slots
    held = (tokens < length)[:, None, :, None]
    tokens = tokens.clamp(max=length - 1)[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
    for name, x in (("k_sinks", k), ("v_sinks", v)):
        expected = x.gather(2, tokens).where(held, 0.0)
        assert torch.equal(state["tensors"][name].cpu(), expected), name
    return kept & ~reference_kv.is_sink(torch.arange(length), first, cache.sink)


def poison_sinks(cache: KVCache) -> None:
    """What no reader may use: codes of sinks, and slots that hold no token."""
    first = cache.held()[1][2]
    if first is None or not cache._buffers:
        return
    slots = torch.arange(cache.sink, device=first.device)
    empty = slots >= (cache.length - first)[:, None]
    for name in ("k_sinks", "v_sinks"):
        cache._buffers[name].masked_fill_(empty[:, None, :, None], float("nan"))
    if not cache.packed:
        return
    tokens = torch.arange(cache.packed, device=first.device)
    sinks = reference_kv.is_sink(tokens, first, cache.sink)[:, None, :, None]
    dim, pages = cache.shape[3], cache.packed // reference_kv.PAGE
    for name in ("key", "value"):
        bits = getattr(cache, f"{name}_bits")
        places = getattr(reference_kv, f"{name}_places")(bits, dim)
        codes = cache._buffers[f"{name[0]}_codes"][:, :, :pages]
        values = reference_kv.unpack(codes, bits, places)
        poisoned = values.where(~sinks, 2**bits - 1)
        codes.copy_(reference_kv.pack(poisoned, bits, places))


def make_queries(cache: KVCache, group: int, rows: int, seed: int = 1) -> torch.Tensor:
    batch, heads, _, dim = cache.shape
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, rows, heads * group, dim, generator=generator)
    return q.to(cache.dtype).transpose(1, 2).to(cache.device)


def check_attention(
    cache: KVCache, q: torch.Tensor, window=None, last=(), **options: object
) -> None:
    """The 2x rule against the cache's own numbers: exact ones in float64, eager ones in its
    dtype; then for the ``last`` so many queries alone, which another kernel may take."""
    eager, exact = (x.cpu() for x in expected_attention(cache, q, window, **options))
    limit = allowed_error(eager, exact)  # a single row of eager PyTorch may be exact by luck
    for rows in (q.shape[2], *last):
        seen = of_last_rows(window, rows)
        ours = cached_attention(q[:, :, -rows:], cache, window=seen, **options).cpu()
        part = eager[:, :, -rows:], exact[:, :, -rows:]
        assert_as_good_as_eager(ours, *part, limit=limit)


def expected_attention(
    cache: KVCache, q: torch.Tensor, window=None, scale=None, softcap=None, sinks=None
):
    """What eager PyTorch makes of the cache in its dtype, and float64 of what it holds."""
    rows, length, rope = q.shape[2], cache.length, cache.rope
    options = {"window": window, "q_offset": length - rows, "kv_bounds": cache.kv_bounds}
    seen = seen_keys(cache, rows, window)
    found = []
    for queries, (k, v) in ((q.double(), dequantized(cache)), (q, cache.dequantize())):
        if rope is not None:
            at = cache.positions
            queries, _ = reference.apply_rope(queries, None, at[..., length - rows :], rope)
            if cache.rotate == "on_read":
                _, k = reference.apply_rope(None, k, at, rope)
        found.append((queries, k, v))
    scores = {"scale": scale, "softcap": softcap, "sinks": sinks}
    exact = reference.attention(*found[0], **scores, **options)
    return eager_attention(*found[1], seen, **scores), exact


def seen_keys(cache: KVCache, rows: int, window=None) -> torch.Tensor:
    """bool ``[B, rows, length]``: which keys the last rows see."""
    batch, _, length, _ = cache.shape
    bounds = Bounds.of(
        window,
        batch=batch,
        queries=rows,
        keys=length,
        device=cache.device,
        q_offset=length - rows,
        kv_bounds=cache.kv_bounds,
    )
    index = torch.arange(length, device=cache.device)
    sizes = (bounds.size, bounds.block, bounds.sink, bounds.first_key)
    return reference.visible(bounds.rows, index[:rows], index, *sizes)
