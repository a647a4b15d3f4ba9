"""The attention and mask functions of an extended decoder, under transformers' own interfaces.

The mask function does not return a ``[B, 1, Q, K]`` mask (10 GB at 100k tokens). It returns an
int32 carrier ``[B, 1, 1, 5]``: the rows of :class:`intp_ext.Bounds`, made once for all layers of a
pass and read on the device.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

import intp_ext
from intp_ext.operators.attention import attend
from intp_ext.operators.cached_attention import attend_cached
from intp_ext.operators.rearrange import gather_tokens
from intp_ext.window import RowIndex, pack_rows

from .. import compat
from ..errors import ModelError
from .cache import PackedStates
from .padding import padding_bounds, padding_has_holes
from .passes import CURRENT, DecoderState, ForwardPass, as_autocast, broken, pass_of

NAME = "intp"

# Keyword arguments that models hand down to the attention interface and that do not change what is
# computed here: our rotary module handles positions, the rest is for other parts of a model.
IGNORED = frozenset(
    {
        "position_ids",
        "cache_position",
        "logits_to_keep",
        "use_cache",
        "output_hidden_states",
        "output_router_logits",
        "return_dict",
        "num_items_in_batch",
    }
)


# What transformers tells every mask function, beside what intp_mask reads.
MASK_IGNORED = frozenset(
    {
        "allow_is_causal_skip",
        "allow_is_bidirectional_skip",
        "allow_torch_fix",
        "config",
        "device",
        "dtype",
        "local_size",
        "use_vmap",
    }
)


def intp_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query ``[B, Hq, S, D]`` -> ``[B, S, Hq, D]``."""
    decoder: DecoderState = module.intp
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if dropout:
        raise ModelError(f"attention dropout {dropout} is not supported: call model.eval()")
    if not IGNORED.issuperset(kwargs):
        _refuse_unknown(kwargs)
    if sliding_window is not None and _is_carrier(attention_mask):
        raise broken(f"a layer with sliding_window={sliding_window} was given a mask without one")
    now = pass_of(attention_mask)
    if now is None or now.decoder is not decoder:
        output = _attend_alone(decoder, query, key, value, attention_mask, scaling)
        return output.transpose(1, 2).contiguous(), None
    now.saw_attention(module, query, key, attention_mask)
    assert attention_mask is not None
    if isinstance(key, PackedStates):
        if not _is_carrier(attention_mask):
            raise ModelError(
                f"kv_bits={key.cache.bits} reads packed keys under a causal mask with padding at "
                "one end of each row, and this model has another one (a sliding window?); extend "
                "without kv_bits"
            )
        output = _attend_packed(now, query, key.cache, attention_mask, scaling)
    else:
        query = now.prepare_queries(query)
        if not now.own_layers:
            key, value = now.prepare_keys(key, value)
        output = _attend(now, query, key, value, attention_mask, scaling)
    return now.restore_rows(output).transpose(1, 2).contiguous(), None


def _refuse_unknown(kwargs: dict[str, Any]) -> None:
    """Refuse unknown arguments by name, unless their value says "no": they may change results."""
    for name, value in kwargs.items():
        if name in IGNORED or value is None or value is False:
            continue
        if name == "is_causal" and value is True:
            continue
        if name == "output_attentions":
            raise ModelError(
                "output_attentions=True is not supported: attention weights are never built; "
                'restore() and use attn_implementation="eager"'
            )
        raise ModelError(
            f"the attention of this model takes {name}, which intp_video does not implement; the "
            "answer would be wrong, so there is none"
        )


def _attend_alone(
    decoder: DecoderState,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
) -> torch.Tensor:
    """The decoder called on its own: the arguments must hold everything that a layer needs."""
    if decoder.needs_sequence:
        raise ModelError(
            "attention was called outside a pass of the whole model, where the video is not known; "
            'call the whole model, or extend it without window, span="visual", rope="dynamic_ntk" '
            'and rearrange="attention"'
        )
    if isinstance(key, PackedStates) or mask is None:
        raise broken("attention was called outside a pass, without a mask or with packed keys")
    return _attend(None, query, key, value, mask, scaling)


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
    return attend_cached(query, cache, now.bounds(carrier), scaling)


def _attend(
    now: ForwardPass | None,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    if _is_carrier(mask):
        bounds = intp_ext.Bounds(mask[:, 0, 0]) if now is None else now.bounds(mask)
        return attend(query, key, value, bounds, scaling)
    if now is not None and now.window() is not None:
        raise ModelError(
            "a window needs plain causal attention and padding at one end of each row, got padding "
            "between kept tokens, a custom 4-D mask or a text model with a sliding window"
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if mask.shape[-1] < key.shape[2]:  # a static cache is longer than what it holds
        unseen = False if mask.dtype == torch.bool else -math.inf
        mask = F.pad(mask, (0, key.shape[2] - mask.shape[-1]), value=unseen)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def intp_mask(
    *,
    batch_size: int,
    kv_length: int,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """transformers' mask interface.

    Returns the carrier ``[B, 1, 1, 5]``. For a mask function that is not plain causal, or padding
    between kept tokens, it returns transformers' own boolean mask ``[B, 1, Q, K]``.
    """
    queries, q_offset = compat.mask_queries(kwargs)
    kv_offset = kwargs.pop("kv_offset", None)
    if mask_function is None or q_offset is None or kv_offset is None:
        raise broken("the mask function was not told which rows and keys it is asked for")
    unknown = [name for name in kwargs.keys() - MASK_IGNORED if kwargs[name] is not None]
    if unknown:
        raise ModelError(f"the masks of this model take {unknown[0]}, which intp_video does not")
    now = CURRENT.now
    if now is not None:
        holes = now.holes
    else:
        holes = attention_mask is not None and padding_has_holes(attention_mask)[0]
    if holes or kv_offset != 0 or not compat.is_causal(mask_function):
        kwargs["allow_is_causal_skip"] = False
        mask = sdpa_mask(
            batch_size=batch_size,
            kv_length=kv_length,
            kv_offset=kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            **queries,
            **kwargs,
        )
    else:
        given = (x for x in (attention_mask, queries.get("cache_position")) if x is not None)
        device = next((x.device for x in given), kwargs.get("device"))
        device = torch.empty(0, device=device).device
        lo: RowIndex = 0
        hi: RowIndex = kv_length
        if attention_mask is not None:
            lo, hi = padding_bounds(attention_mask)
        window = None if now is None else now.window()
        mask = pack_rows(window, lo, hi, q_offset, batch_size, device)[:, None, None]
    if now is not None:
        now.saw_mask(mask, attention_mask, kv_length, q_offset)
    return mask


def _is_carrier(mask: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
    return mask is not None and mask.dtype == torch.int32


_users = 0
_lock = threading.Lock()


def register() -> Callable[[], None]:
    """Register both functions in transformers as "intp"; returns the function that undoes it."""
    global _users
    with _lock:
        if _users == 0:
            AttentionInterface.register(NAME, intp_attention)
            AttentionMaskInterface.register(NAME, intp_mask)
        _users += 1

    def release() -> None:
        global _users
        with _lock:
            _users -= 1
            if _users == 0:
                AttentionInterface._global_mapping.pop(NAME)
                AttentionMaskInterface._global_mapping.pop(NAME)

    return release
