"""The attention and mask functions of an extended decoder, under transformers' own interfaces.

They stand before those of :mod:`intp_video.backend`, to which they leave every other model.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

import intp_ext
from intp_ext.operators.attention import attend
from intp_ext.operators.cached_attention import attend_cached
from intp_ext.operators.rearrange import gather_tokens

from .. import backend
from ..backend import NAME
from ..backend.arguments import check_arguments
from ..backend.attention import as_autocast
from ..backend.carrier import is_carrier
from ..backend.mask import MaskRequest
from ..backend.rules import CAUSAL, rule_of
from ..errors import ModelError, broken
from .cache import PackedStates
from .passes import CURRENT, DecoderState, ForwardPass, pass_of

__all__ = ["NAME", "intp_attention", "intp_mask"]


def intp_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query ``[B, Hq, S, D]`` -> ``[B, S, Hq, D]``."""
    decoder: DecoderState | None = getattr(module, "intp", None)
    now = pass_of(attention_mask)
    if decoder is None or now is None or now.decoder is not decoder:
        if decoder is not None:
            _check_alone(decoder, key, attention_mask)
        return backend.intp_attention(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling,
            dropout,
            is_causal,
            sliding_window,
            **others,
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout:
        raise ModelError(f"attention dropout {dropout} is not supported: call model.eval()")
    check_arguments(others)
    now.saw_attention(module, query, key, attention_mask)
    assert attention_mask is not None
    if isinstance(key, PackedStates):
        if not is_carrier(attention_mask):
            raise ModelError(
                f"kv_bits={key.cache.bits} reads packed keys under a causal mask with padding at "
                "one end of each row, and this model has another one; extend without kv_bits"
            )
        output = _attend_packed(now, query, key.cache, attention_mask, scaling)
    else:
        query = now.prepare_queries(query)
        if not now.own_layers:
            key, value = now.prepare_keys(key, value)
        if decoder.on_attention is not None:
            decoder.on_attention(query, key, scaling)
        output = _attend(now, query, key, value, attention_mask, scaling, sliding_window)
    return now.restore_rows(output).transpose(1, 2).contiguous(), None


def _check_alone(decoder: DecoderState, key: Any, mask: torch.Tensor | None) -> None:
    """The decoder called on its own: the arguments must hold everything that a layer needs."""
    if decoder.needs_sequence:
        raise ModelError(
            "attention was called outside a pass of the whole model, where the video is not known; "
            'call the whole model, or extend it without window, span="visual", rope="dynamic_ntk" '
            'and rearrange="attention"'
        )
    if isinstance(key, PackedStates) or mask is None:
        raise broken("attention was called outside a pass, without a mask or with packed keys")


def _attend_packed(
    now: ForwardPass,
    query: torch.Tensor,
    cache: intp_ext.KVCache,
    carrier: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """The cache knows positions, and rotates the queries."""
    query = as_autocast(query)
    if now.order is not None:
        query = gather_tokens(query, now.order)
    return attend_cached(query, cache, now.bounds(carrier, query.shape[2]), scaling)


def _attend(
    now: ForwardPass,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    sliding_window: int | None,
) -> torch.Tensor:
    if is_carrier(mask):
        bounds = now.bounds(mask, query.shape[2], sliding_window)
        return attend(query, key, value, bounds, scaling)
    if now.window() is not None:
        raise ModelError(
            "a window needs plain causal attention and padding at one end of each row, got padding "
            "between kept tokens or a custom 4-D mask"
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if mask.shape[-1] < key.shape[2]:  # a static cache is longer than what it holds
        unseen = False if mask.dtype == torch.bool else -math.inf
        mask = F.pad(mask, (0, key.shape[2] - mask.shape[-1]), value=unseen)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def intp_mask(**arguments: Any) -> torch.Tensor | None:
    """transformers' mask interface.

    Returns the carrier. For a mask function that is neither plain causal nor that of a sliding
    window, or padding between kept tokens, it returns transformers' own boolean mask
    ``[B, 1, Q, K]``.
    """
    now = CURRENT.now
    if now is None or not _is_of(now, arguments.get("config")):
        return backend.intp_mask(**arguments)
    request = MaskRequest.of(arguments)
    rule = None if now.holes else rule_of(request.rule)
    if rule == CAUSAL and request.kv_offset == 0:
        mask: torch.Tensor | None = request.carrier(now.window())
    elif rule is not None and rule.slides and now.window() is None:
        mask = request.carrier(rule.window)
    else:
        mask = request.explicit()
    assert mask is not None
    now.saw_mask(mask, request.padding, request.keys, request.q_offset)
    return mask


def _is_of(now: ForwardPass, config: Any) -> bool:
    """Not so for another model that is called in this pass, a vision tower first of all."""
    return now.decoder.layers[0].config is config


backend.register(intp_attention, intp_mask)
