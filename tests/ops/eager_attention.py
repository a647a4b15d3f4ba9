"""What eager PyTorch gives in the same dtype: the yardstick of the tolerance policy."""

from __future__ import annotations

import torch

from intp_ext import reference


def seen_keys(batch, rows, keys, window=None, q_offset=0, kv_bounds=None):
    """bool [B, Sq, Skv]"""
    bounds = reference.pack_bounds(batch, keys, torch.device("cpu"), window, q_offset, kv_bounds)
    size, block, sink = (None, 1, 0) if window is None else (window.size, window.block, window.sink)
    return reference.visible(bounds, torch.arange(rows), torch.arange(keys), size, block, sink)


def eager_attention(q, k, v, seen, scale=None):
    """transformers' eager_attention_forward with a mask; zeros for rows that see nothing."""
    group = q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * scale
    scores = scores.masked_fill(~seen[:, None], float("-inf"))
    weights = scores.softmax(-1, dtype=torch.float32).nan_to_num(0.0).to(q.dtype)
    return weights @ v.repeat_interleave(group, 1)
