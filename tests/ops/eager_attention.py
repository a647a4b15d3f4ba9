"""What eager PyTorch gives in the same dtype: the yardstick of the tolerance policy."""

from __future__ import annotations

import torch

from intp_ext import Bounds, reference


def bounds_of(batch, rows, keys, window=None, q_offset=0, kv_bounds=None):
    return Bounds.of(
        window,
        batch=batch,
        queries=rows,
        keys=keys,
        device=torch.device("cpu"),
        q_offset=q_offset,
        kv_bounds=kv_bounds,
    )


def seen_keys(batch, rows, keys, **options):
    """bool [B, Sq, Skv]"""
    bounds = bounds_of(batch, rows, keys, **options)
    sizes = (bounds.size, bounds.block, bounds.sink)
    return reference.visible(bounds.rows, torch.arange(rows), torch.arange(keys), *sizes)


def eager_attention(q, k, v, seen, scale=None):
    """transformers' eager_attention_forward with a mask; zeros for rows that see nothing."""
    group = q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * scale
    scores = scores.masked_fill(~seen[:, None], float("-inf"))
    weights = scores.softmax(-1, dtype=torch.float32).nan_to_num(0.0).to(q.dtype)
    return weights @ v.repeat_interleave(group, 1)
