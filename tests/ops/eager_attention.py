"""What eager PyTorch gives in the same dtype: the yardstick of the tolerance policy."""

from __future__ import annotations

import dataclasses

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
    sizes = (bounds.size, bounds.block, bounds.sink, bounds.first_key)
    return reference.visible(bounds.rows, torch.arange(rows), torch.arange(keys), *sizes)


def of_last_rows(window, rows):
    """The window of the last query rows alone."""
    if window is None or window.first_key is None or rows == 0:
        return window
    return dataclasses.replace(window, first_key=window.first_key[:, -rows:])


def first_keys(batch, rows, q_offset, least=-9, span=130):
    """int32 ``[batch, rows]``, up and down, from ``span`` keys before the query to the query."""
    generator = torch.Generator().manual_seed(rows)
    back = torch.randint(0, span, (batch, rows), generator=generator)
    return (q_offset + torch.arange(rows) - back).clamp(min=least).int()


def eager_attention(q, k, v, seen, scale=None, softcap=None, sinks=None):
    """transformers' eager_attention_forward with a mask, gemma2's with a softcap, gpt_oss's with
    sinks; zeros for rows that see nothing."""
    group = q.shape[1] // k.shape[1]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = q @ k.repeat_interleave(group, 1).transpose(-1, -2) * scale
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~seen[:, None], float("-inf"))
    if sinks is not None:
        sink = sinks.to(q.dtype).reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = scores.softmax(-1, dtype=torch.float32).nan_to_num(0.0).to(q.dtype)
    weights = weights[..., : k.shape[2]]
    return weights @ v.repeat_interleave(group, 1)
