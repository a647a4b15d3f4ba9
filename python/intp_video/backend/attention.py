"""transformers' attention interface, for models that are not extended."""

from __future__ import annotations

from typing import Any

import torch

import intp_ext
from intp_ext.operators.attention import attend

from ..errors import ModelError, broken
from .arguments import check_arguments
from .carrier import bounds_of, is_carrier
from .fallback import say_instead, sdpa_attention


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
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of rotated q and k, as ``attn_implementation="sdpa"`` computes it.

    Args:
        module: the layer.
        query: ``[B, Hq, Sq, D]``.
        key, value: ``[B, Hkv, Skv, D]``; values may have fewer channels.
        attention_mask: our carrier; or None, or a bool or float ``[B, 1, Sq, Skv]``, which go to
            torch's attention unless the layer is causal and Sq is Skv or 1.
        scaling: factor on the scores; None for ``D ** -0.5``.
        dropout: 0 with our kernels.
        is_causal: whether no mask means causal; None: as the layer says.
        sliding_window: of the layer.
        softcap: of the scores, with our kernels.
        s_aux: attention sinks ``[Hq]``, with our kernels.
        **others: see :mod:`.arguments`.

    Returns:
        ``[B, Sq, Hq, Dv]``, and no attention weights.

    Raises:
        ModelError: an argument would change the result and is not implemented, or the mask is not
            that of this layer.
    """
    check_arguments(others)
    if is_carrier(attention_mask):
        bounds = bounds_of(attention_mask, query.shape[2])
        if sliding_window is not None and bounds.size != sliding_window:
            raise broken(
                f"a layer with sliding_window={sliding_window} was given a mask of "
                f"{'no window' if bounds.size is None else f'a window of {bounds.size}'}"
            )
    elif attention_mask is None and _is_causal(module, query, key, is_causal):
        bounds = intp_ext.Bounds.of(
            None,
            batch=query.shape[0],
            queries=query.shape[2],
            keys=key.shape[2],
            device=query.device,
            q_offset=key.shape[2] - query.shape[2],
        )
    else:
        what = "attention both ways" if attention_mask is None else "an explicit mask"
        where = f" for {what}"
        if attention_mask is not None:
            where += (
                " (which is what a sliding window becomes in a graph of torch.compile: compile no "
                'more than the decode step, by generate with cache_implementation="static")'
            )
        check_arguments({"softcap": softcap, "s_aux": s_aux}, where)
        say_instead(f"{what} is computed by torch's attention")
        return sdpa_attention(
            module, query, key, value, attention_mask, scaling, dropout, is_causal
        )
    if dropout:
        raise ModelError(f"attention dropout {dropout} is not supported: call model.eval()")
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = (as_autocast(x) for x in (query, key, value))
    sinks = None if s_aux is None else s_aux.float().contiguous()
    output = attend(query, key, value, bounds, scaling, softcap, sinks)
    return output.transpose(1, 2).contiguous(), None


def _is_causal(module: Any, query: torch.Tensor, key: torch.Tensor, is_causal: bool | None) -> bool:
    """Whether no mask means that a query sees the keys up to its own, and which one that is."""
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    return bool(is_causal) and query.shape[2] in (1, key.shape[2])


def as_autocast(x: torch.Tensor) -> torch.Tensor:
    """As torch's own attention takes it where autocast is on."""
    device = "cpu" if x.is_cpu else x.device.type  # which makes a string
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
