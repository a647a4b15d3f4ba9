"""The padding of a batch: where it is, and what may be cached with it."""

from __future__ import annotations

from typing import Any

import torch

from ..backend.padding import padding_bounds, padding_has_holes
from ..errors import ModelError
from .passes import ForwardPass


def check_mask(mask: Any) -> None:
    """Raise ModelError unless it is None or a mask that attention can be given."""
    if mask is None:
        return
    if not isinstance(mask, torch.Tensor):
        raise ModelError(
            f"attention_mask: expected a tensor [B, K] or [B, 1, Q, K], got a {type(mask).__name__}"
        )
    if mask.dim() == 4 and mask.dtype != torch.bool and not mask.is_floating_point():
        raise ModelError(f"attention_mask: expected a 4-D mask of bool or floats, got {mask.dtype}")


def see_padding(now: ForwardPass, mask: torch.Tensor | None, kv_bits: float | None) -> None:
    """Tell the pass what its mask says of padding.

    Args:
        now: the pass.
        mask: ``[B, K]``, or ``[B, 1, Q, K]``, which transformers hands on as it is, or None.
        kv_bits: of a packed cache, or None.

    Raises:
        ModelError: padding that a packed cache does not take.
    """
    if mask is None:
        if kv_bits is not None and now.sequence.padded:
            _refuse_no_mask(now)
        return
    if kv_bits is not None:
        now.kv_bounds = _packed_bounds(mask)
        _refuse_wider(now)
    if mask.dim() != 2:
        now.allow_mask(mask)
        return
    _find_holes(now, mask)
    if not now.holes:
        return
    if kv_bits is not None:
        raise ModelError(
            f"kv_bits={kv_bits} takes padding at one end of each row, got padding between kept "
            'tokens; pad on the left (tokenizer.padding_side = "left"), ask a second turn without '
            "padding, or extend without kv_bits (and over a static cache without "
            'rearrange="attention")'
        )
    now.decoder.say_once(
        "padding stands between kept tokens (right-padded prompts, or a left-padded second turn): "
        "using torch's scaled_dot_product_attention with an explicit mask"
    )


def _find_holes(now: ForwardPass, mask: torch.Tensor) -> None:
    """Whether padding stands between kept tokens; the mask function then makes an explicit mask."""
    sequence = now.sequence
    now.has_padding_mask = sequence.padded = True
    # a GPU is not waited for at every decoded token, and a compiled graph at none
    often = not sequence.decoding or mask.device.type == "cpu"
    if now.rows > 1 or (often and not torch.compiler.is_compiling()):
        now.holes, at_end = padding_has_holes(mask)
        sequence.holes = now.holes or at_end
    else:
        now.holes = sequence.holes
    sequence.decoding = now.rows == 1


def _packed_bounds(mask: torch.Tensor) -> torch.Tensor:
    """int32 ``[B, 2]`` lo and hi."""
    if mask.dim() != 2:
        raise ModelError(
            f"kv_bits takes a padding mask [B, K], got {mask.dtype} {list(mask.shape)}; extend "
            "without kv_bits for a custom mask"
        )
    return torch.stack(padding_bounds(mask), dim=-1).int()


def _refuse_no_mask(now: ForwardPass) -> None:
    before = _packed_cache(now).kv_bounds if now.past else None
    if before is not None and bool((before[:, 0] > 0).any()):
        raise ModelError(
            "earlier tokens of this cache were given with padding in attention_mask, got none: "
            "pass the mask of all tokens"
        )


def _refuse_wider(now: ForwardPass) -> None:
    """Padding is packed as anything, so it stays padding. Not looked at while a GPU decodes."""
    assert now.kv_bounds is not None
    if not now.past or (now.rows == 1 and now.kv_bounds.device.type != "cpu"):
        return
    before = _packed_cache(now).kv_bounds
    lo = 0 if before is None else before[:, 0]
    if not torch.compiler.is_compiling() and bool((now.kv_bounds[:, 0] < lo).any()):
        raise ModelError(
            "attention_mask shows padding that packed keys (kv_bits) were cached without: pass "
            "the mask that the earlier tokens were given with, and go on from there"
        )


def _packed_cache(now: ForwardPass) -> Any:
    """That of the first layer that attends: all have the same padding."""
    return next(layer.cache for layer in now.cache.layers if hasattr(layer, "cache"))
