"""States that stress a cache: outlier channels, offsets, padding that is poison."""

from __future__ import annotations

import torch

from intp_ext import KVCache, reference_kv


def make_states(batch, heads, length, dim, dtype, seed=0):
    """k and v as the transposed [B, S, H, D] views of a model; some channels far from zero, or
    wide, or constant."""
    generator = torch.Generator().manual_seed(seed)
    k, v = (
        torch.randn(batch, length, heads, dim, generator=generator).transpose(1, 2)
        for _ in range(2)
    )
    k[..., 1] += 30
    k[..., 2] *= 20
    k[..., 3] = -1.5
    v[:, :, length // 2] *= 10
    return k.to(dtype), v.to(dtype)


def packing_cache(*args, **options) -> KVCache:
    """One that packs every whole page, however new its tokens are, if nothing else is said."""
    return KVCache(*args, **{"recent": 0, "sink": 0, "key_group": 64, **options})


def fill(cache: KVCache, k, v, pieces=None, **options) -> KVCache:
    """In pieces of so many tokens, the rest at once."""
    begin = 0
    for count in (*(pieces or ()), k.shape[2]):
        end = min(begin + count, k.shape[2])
        cache.append(k[:, :, begin:end], v[:, :, begin:end], **options)
        begin = end
    return cache


def dequantized(cache: KVCache) -> tuple[torch.Tensor, torch.Tensor]:
    """float64 k and v: what the stored codes, scales, zeros and sinks mean, without a rounding."""
    k, v = (x.double() for x in cache.rows())
    if not cache.packed:
        return k, v
    dim, state = k.shape[3], cache.state_dict()["tensors"]
    found = {}
    for name, group, bits in (
        ("k", cache.key_group, cache.key_bits),
        ("v", cache.value_group, cache.value_bits),
    ):
        places = reference_kv.key_places if name == "k" else reference_kv.value_places
        codes = reference_kv.unpack(state[f"{name}_codes"], bits, places(bits, dim))
        undo = reference_kv.dequantize_keys if name == "k" else reference_kv.dequantize_values
        found[name] = undo(codes, state[f"{name}_ranges"].double(), group)
    first = cache.state_dict()["first"]
    if first is not None:
        tokens = torch.arange(cache.packed, device=k.device)
        exact = reference_kv.is_sink(tokens, first, cache.sink)[:, None, :, None]
        for name, x in zip("kv", cache.dequantize(), strict=True):
            found[name] = found[name].where(~exact, x[:, :, : cache.packed].double())
    return torch.cat((found["k"], k), dim=2), torch.cat((found["v"], v), dim=2)
