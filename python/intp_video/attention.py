"""The attention and mask functions that an extended decoder calls, under transformers' own
interfaces.

The mask function returns no ``[B, 1, Q, K]`` mask (10 GB at 100k tokens) but a carrier ``[B, 1, 1,
3]`` int32: lo, hi, q_offset of each row. The attention function reads it on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function, sdpa_mask

import intp_ext
from intp_ext.reference import gather_tokens

from .cache import PackedStates
from .errors import ModelError
from .sequence import Sequence

NAME = "intp"
log = logging.getLogger("intp_video")


@dataclass
class DecoderState:
    """What the attention layers of one extended decoder share; hangs on each of them as ``intp``.

    Attributes:
        window: frames a visual token sees (its own included), or None.
        block: tokens in a frame.
        sink: first tokens of a row that everything sees.
        sequence: the sequence of the pass under way, or None if the decoder was called by itself.
    """

    window: int | None
    block: int
    sink: int
    sequence: Sequence | None = None
    said: set[str] = field(default_factory=set)

    def window_of(self, sequence: Sequence) -> intp_ext.Window | None:
        if self.window is None or not sequence.sees_video:
            return None  # text after the video sees everything
        span = sequence.visual
        return intp_ext.Window(self.window, self.block, span.start, self.sink, span.end)

    def say_once(self, message: str) -> None:
        if message not in self.said:
            self.said.add(message)
            log.warning(message)


def intp_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: query ``[B, Hq, S, D]`` -> ``[B, S, Hq, D]``."""
    state: DecoderState = module.intp
    sequence = state.sequence
    if dropout:
        raise ModelError(f"attention dropout {dropout} is not supported: call model.eval()")
    if sequence is None:
        output = _attend(state, query, key, value, attention_mask, None, scaling)
        return output.transpose(1, 2).contiguous(), None
    if isinstance(key, PackedStates):
        output = _attend_packed(state, query, key.cache, scaling)
        return sequence.restore_rows(output).transpose(1, 2).contiguous(), None
    query = sequence.prepare_queries(query)
    if not sequence.cached:
        key, value = sequence.prepare_keys(key, value)
    window = state.window_of(sequence)
    output = _attend(state, query, key, value, attention_mask, window, scaling)
    return sequence.restore_rows(output).transpose(1, 2).contiguous(), None


def _attend_packed(
    state: DecoderState,
    query: torch.Tensor,
    cache: intp_ext.KVCache,
    scaling: float | None,
) -> torch.Tensor:
    """The cache knows padding and positions, and rotates the queries."""
    sequence = state.sequence
    if sequence.order is not None:
        query = gather_tokens(query, sequence.order)
    window = state.window_of(sequence)
    return intp_ext.cached_attention(query, cache, window=window, scale=scaling)


def _attend(
    state: DecoderState,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    window: intp_ext.Window | None,
    scaling: float | None,
) -> torch.Tensor:
    if mask is not None and mask.dtype == torch.int32:
        lo, hi, q_offset = mask[:, 0, 0].unbind(-1)  # int32 [B] each
        return intp_ext.attention(
            query,
            key,
            value,
            window=window,
            q_offset=q_offset,
            kv_bounds=torch.stack((lo, hi), dim=-1),
            scale=scaling,
        )
    if window is not None:
        raise ModelError(
            "a window needs padding at one end of each row, got padding between kept tokens or a "
            "custom 4-D mask"
        )
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    if (
        mask is not None and mask.shape[-1] < key.shape[2]
    ):  # a static cache is longer than what it holds
        mask = F.pad(mask, (0, key.shape[2] - mask.shape[-1]), value=False)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def intp_mask(
    batch_size: int,
    kv_length: int,
    q_length: int | None = None,
    q_offset: int | torch.Tensor = 0,
    cache_position: torch.Tensor | None = None,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> torch.Tensor:
    """transformers' mask interface, 4.57 (``cache_position``) and 5 (``q_length, q_offset``) alike.

    Returns the carrier ``[B, 1, 1, 3]``; for a mask function that is not plain causal,
    transformers' own boolean mask.
    """
    if cache_position is not None:
        q_offset = cache_position[0]
    if mask_function is not causal_mask_function:
        queries = {"cache_position": cache_position} if cache_position is not None else {}
        if not queries:
            queries = {"q_length": q_length, "q_offset": q_offset}
        kwargs["allow_is_causal_skip"] = False
        return sdpa_mask(
            batch_size=batch_size,
            kv_length=kv_length,
            kv_offset=kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            **queries,
            **kwargs,
        )
    device = next(
        (x.device for x in (attention_mask, cache_position) if x is not None), kwargs.get("device")
    )
    carrier = torch.empty((batch_size, 3), dtype=torch.int32, device=device)
    if attention_mask is None:
        carrier[:, 0], carrier[:, 1] = 0, kv_length
    else:
        carrier[:, 0], carrier[:, 1] = padding_bounds(attention_mask)
    carrier[:, 2] = q_offset
    return carrier[:, None, None]


def padding_bounds(attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 ``[B]`` lo and hi: the first kept key of each row and the one after the last; 0, 0 for
    none."""
    kept = attention_mask.bool()
    length = kept.shape[1]
    some = kept.any(-1)
    lo = kept.int().argmax(-1)
    hi = length - kept.flip(-1).int().argmax(-1)
    return torch.where(some, lo, 0), torch.where(some, hi, 0)


def kv_bounds(mask: torch.Tensor) -> torch.Tensor:
    """int32 ``[B, 2]`` lo and hi of a padding mask ``[B, K]`` or of the carrier, which generate()
    makes beforehand for a static cache."""
    if mask.dim() == 2:
        return torch.stack(padding_bounds(mask), dim=-1).int()
    if mask.dim() == 4 and mask.dtype == torch.int32:
        return mask[:, 0, 0, :2].contiguous()
    raise ModelError(
        f"kv_bits takes a padding mask [B, K], got {mask.dtype} {list(mask.shape)}; extend without "
        "kv_bits for a custom mask"
    )


def padding_has_holes(attention_mask: torch.Tensor) -> tuple[bool, bool]:
    """Whether some row of ``[B, K]`` has padding between kept keys, and whether one has padding at
    its end, which will stand between kept keys as soon as a token follows."""
    lo, hi = padding_bounds(attention_mask)
    holes = (hi - lo) != attention_mask.bool().sum(-1)
    return bool(holes.any()), bool((hi < attention_mask.shape[1]).any())


def explicit_mask(attention_mask: torch.Tensor, rows: int) -> torch.Tensor:
    """bool ``[B, 1, rows, K]``, True where seen: causal over the last rows of K keys, and the
    padding."""
    keys = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    causal = keys <= keys[-rows:, None]  # [rows, K]
    return attention_mask.bool()[:, None, None, :] & causal


_users = 0


def register() -> Callable[[], None]:
    """Make both functions known to transformers as "intp"; returns the function that takes them
    back."""
    global _users
    if _users == 0:
        AttentionInterface.register(NAME, intp_attention)
        AttentionMaskInterface.register(NAME, intp_mask)
    _users += 1

    def release() -> None:
        global _users
        _users -= 1
        if _users == 0:
            AttentionInterface._global_mapping.pop(NAME)
            AttentionMaskInterface._global_mapping.pop(NAME)

    return release
