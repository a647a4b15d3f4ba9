"""A scheme as the cache of a model of transformers, and the attention that reads it.

Layers with a sliding window get a cache of the scheme too, which they read through their window.
transformers' own cache of such a layer drops what has left the window, and would leave 3 layers of
this model to tell one scheme from another (``layers="full"``), while most decoders attend to
everything in every layer. Bytes are those of a layer that does.

States are bfloat16 in every cache, whatever the model computes in: so are scales and zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer

import intp_ext
from intp_ext.operators.attention import attend
from intp_ext.operators.cached_attention import attend_cached

from ... import compat
from ...backend.carrier import bounds_of
from ...backend.mask import intp_mask
from .schemes import EXACT, Scheme

NAME = "intp_real_model"
DTYPE = torch.bfloat16


class Handle:
    """What a layer's ``update`` returns in place of keys and of values."""

    def __init__(self, cache: intp_ext.KVCache, window: tuple[int, int] | None) -> None:
        self.cache, self.window = cache, window


class KVCacheLayer(compat.CacheLayerNames, DynamicLayer):
    """A layer over an :class:`intp_ext.KVCache`. Batch 1, no padding."""

    max_cache_len = None

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.cache = scheme.make()
        self.handle = Handle(
            self.cache, None if scheme.window is None else (scheme.window, scheme.window_sink)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Handle, Handle]:
        self.cache.append(key_states.to(DTYPE), value_states.to(DTYPE))
        return self.handle, self.handle

    def get_seq_length(self, *args: Any) -> int:
        return self.cache.length

    @property
    def nbytes(self) -> int:
        return self.cache.nbytes


def quanto_layer(bits: int, axis_key: int) -> Any:
    """A layer of transformers' QuantizedCache: groups of 64, and up to 128 tokens in full precision
    until all of them are packed, and everything before them once more. ``axis_key`` 0, its default:
    a scale for 64 channels of a token; -1: for 64 tokens of a channel, in whole groups alone.

    Raises:
        ImportError: optimum-quanto is missing.
    """
    from transformers.cache_utils import QuantoQuantizedLayer

    class QuantoLayer(QuantoQuantizedLayer):
        def update(self, key_states, value_states, *args, **kwargs):
            return super().update(key_states.to(DTYPE), value_states.to(DTYPE), *args, **kwargs)

        @property
        def nbytes(self) -> int:
            packed = (self._quantized_keys, self._quantized_values)
            parts = [x for y in packed for x in (y._data._data, y._scale, y._shift)]
            return sum(x.nbytes for x in (*parts, self.keys, self.values) if x is not None)

    return QuantoLayer(nbits=bits, axis_key=axis_key)


def layer_of(scheme: Scheme) -> Any:
    """An empty layer; ``nbytes`` are those in use."""
    if scheme.quanto:
        return quanto_layer(int(scheme.bits), -1 if scheme.backend == "quanto_channel" else 0)
    return KVCacheLayer(scheme)


def share_of_16_bits(scheme: Scheme, tokens: int, head_dim: int) -> float:
    """Bytes of a cache of so many tokens over those of 16 bits: measured, everything counted."""
    states = torch.zeros(1, 1, tokens, head_dim, dtype=DTYPE)
    layer = layer_of(scheme)
    layer.update(states, states)
    return layer.nbytes / (2 * states.nbytes)


def empty_cache(scheme: Scheme, config: Any) -> Cache:
    """For a decoder of this config."""
    exact = () if scheme.layers == "all" else ("sliding_attention",)
    return Cache(
        layers=[layer_of(EXACT if kind in exact else scheme) for kind in config.layer_types]
    )


def attention(
    module: Any,
    query: torch.Tensor,
    key: Any,
    value: Any,
    attention_mask: torch.Tensor,
    scaling: float,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface by our kernels in bfloat16; key and value are a
    :class:`Handle`, or tensors of a QuantizedCache."""
    rows, q = query.shape[2], query.to(DTYPE)
    bounds = bounds_of(attention_mask, rows)
    if isinstance(key, Handle):
        if key.window is not None and sliding_window is None:
            size, sink = key.window
            bounds = intp_ext.Bounds.of(
                intp_ext.Window(size, sink=sink),
                batch=1, queries=rows, keys=key.cache.length, device=q.device,
                q_offset=key.cache.length - rows,
            )  # fmt: skip
        output = attend_cached(q, key.cache, bounds, scaling)
    else:
        output = attend(q, key, value, bounds, scaling, None, None)
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, intp_mask)
