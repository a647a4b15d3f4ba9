"""What torch's own attention computes instead of ours, as transformers' "sdpa" does, said once."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from .. import compat


def sdpa_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    dropout: float,
    is_causal: bool | None,
) -> tuple[torch.Tensor, None]:
    """transformers' own attention function "sdpa"."""
    if mask is not None:
        is_causal = False  # the mask says all; 4.57 would hand on both
    return sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=is_causal
    )


def say_instead(why: str) -> None:
    """Log that torch's attention is used, the first time in this process for each reason."""
    if not torch.compiler.is_compiling():  # a compiled graph cannot log
        _say(why)


@functools.cache
def _say(why: str) -> None:
    compat.log.warning('attn_implementation="intp": %s, not by our kernels', why)
