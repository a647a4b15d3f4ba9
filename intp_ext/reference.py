"""What every operator means, in short eager PyTorch: the definitions the kernels must meet.

Shapes: B batch, Hq query heads, Hkv key heads, S tokens, D head_dim, F = D_rot/2 frequencies.
Everything here takes any dtype and computes in float32 (float64 for float64 input).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from .rope import Rope
from .window import Q_OFFSET, Bounds, Window

Q = TypeVar("Q", bound=torch.Tensor | None)
K = TypeVar("K", bound=torch.Tensor | None)

GROUPINGS = ("interleaved", "contiguous")


def token_order(
    groups: int, frames_per_group: int, tokens_per_frame: int, grouping: str = "interleaved"
) -> torch.Tensor:
    """int32 ``[S]``: the storage row (g, n, p) of the token at time ``t = f*P + p`` (INTP, 3.1).

    Interleaved, group g holds frames g, g+m, g+2m, ...: ``f = n*m + g``.
    Contiguous, it holds frames ``g*N, g*N+1, ...``: ``f = g*N + n``.
    """
    rows = torch.arange(groups * frames_per_group * tokens_per_frame, dtype=torch.int32)
    rows = rows.view(groups, frames_per_group, tokens_per_frame)
    return (rows.transpose(0, 1) if grouping == "interleaved" else rows).flatten()


def rearrange(features: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """``out[b, s] = features[b, order[b, s]]``; ``[B, R, C]``, order ``[S]`` or ``[B, S]``."""
    order = order.long().expand(features.shape[0], -1)  # [B, S]
    return features.take_along_dim(order[..., None], dim=1)


def rope_angles(
    positions: torch.Tensor, rope: Rope, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Radians ``[1 or B, S, F]``: ``position * inv_freq``, each frequency's from its own axis."""
    inv_freq = rope.inv_freq.to(positions.device, dtype)
    angles = positions.to(dtype)[..., None] * inv_freq  # [S, F], [B, S, F] or [3, B, S, F]
    if angles.dim() == 2:
        angles = angles[None]
    if rope.sections is None:
        return angles
    if positions.dim() < 3:  # the same position on all three axes
        return angles
    axis = rope_axes(rope.sections, rope.interleaved_sections).to(positions.device)  # [F]
    return angles.gather(0, axis.expand(1, *angles.shape[1:]))[0]


def rope_axes(sections: Sequence[int], interleaved: bool) -> torch.Tensor:
    """int64 ``[F]``: the axis (0 temporal, 1 height, 2 width) of each frequency's position."""
    if not interleaved:
        return torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    axis = torch.arange(sum(sections)) % 3
    index = torch.arange(sum(sections))
    beyond = index >= 3 * torch.tensor(sections)[axis]  # this axis has run out: temporal again
    return torch.where(beyond, 0, axis)


def rotate(x: torch.Tensor, angles: torch.Tensor, scaling: float) -> torch.Tensor:
    """Turn channel pairs ``(d, d + F)`` of x ``[B, H, S, D]`` by angles ``[1 or B, S, F]``."""
    compute = angles.dtype
    cos = (angles.cos() * scaling)[:, None]  # [B, 1, S, F]
    sin = (angles.sin() * scaling)[:, None]
    half = angles.shape[-1]
    first, second = x[..., :half].to(compute), x[..., half : 2 * half].to(compute)
    rest = x[..., 2 * half :]  # partial rotary: untouched
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return torch.cat((turned.to(x.dtype), rest), dim=-1)


def gather_tokens(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """``out[b, h, t] = x[b, h, order[b, t]]``; x ``[B, H, S, D]``, order ``[S]`` or ``[B, S]``."""
    order = order.long().expand(x.shape[0], -1)
    return x.take_along_dim(order[:, None, :, None], dim=2)


def apply_rope(
    q: Q, k: K, positions: torch.Tensor, rope: Rope, order: torch.Tensor | None = None
) -> tuple[Q, K]:
    """Row t of the output is row ``order[t]`` of the input, turned to ``positions[t]``."""

    def one(x: torch.Tensor | None) -> Any:
        if x is None:
            return None
        x = x if order is None else gather_tokens(x, order)
        return rotate(x, rope_angles(positions, rope, compute_dtype(x)), rope.attention_scaling)

    return one(q), one(k)


def visible(
    bounds: torch.Tensor,
    queries: torch.Tensor,
    keys: torch.Tensor,
    window: int | None,
    block: int = 1,
    sink: int = 0,
    first_key: torch.Tensor | None = None,
) -> torch.Tensor:
    """bool ``[B, Sq, Skv]``: the visibility rule (see :class:`intp_ext.Window`).

    Args:
        bounds: int32 ``[B, 5]``: lo, hi, q_offset, block_start, dense_from of each batch row.
        queries: int ``[Sq]`` row numbers of q; the absolute index is ``q_offset + row``.
        keys: int ``[Skv]`` absolute key indices.
        window: blocks that a query sees; None for full causal attention, or with ``first_key``.
        first_key: int ``[1 or B, rows of q]`` absolute key indices, or None.
    """
    columns = bounds.long()[:, :, None, None].unbind(1)
    lo, hi, q_offset, block_start, dense_from = columns  # [B, 1, 1] each
    i = q_offset + queries.long()[None, :, None]  # [B, Sq, 1]
    j = keys.long()[None, None, :]  # [1, 1, Skv]
    seen = (lo <= j) & (j < hi) & (j <= i)

    def blk(x: torch.Tensor) -> torch.Tensor:
        return torch.div(x - block_start, block, rounding_mode="floor")

    if first_key is not None:
        recent = j >= first_key.long()[:, queries.long(), None]
    elif window is not None:
        recent = blk(j) > blk(i) - window
    else:
        return seen
    return seen & (recent | (j - lo < sink) | (i >= dense_from))


def masked_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    scale: float,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """``softmax(scale * q k^T) v`` over the keys that mask ``[B, Sq, Skv]`` shows; 0 if none.

    With ``softcap``, scores are ``softcap * tanh(scale * q k^T / softcap)``. ``sinks`` ``[Hq]`` are
    one more score of every query, with a value of 0.
    """
    batch, heads, rows, dim = q.shape
    kv_heads, keys, compute = k.shape[1], k.shape[2], compute_dtype(q)
    # GQA: the query heads that share a key head become rows of one matrix product
    q = q.reshape(batch, kv_heads, heads // kv_heads * rows, dim).to(compute)
    scores = (q @ k.to(compute).transpose(-1, -2)) * scale  # [B, Hkv, G*Sq, Skv]
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    scores = scores.view(batch, heads, rows, keys).masked_fill(~mask[:, None], float("-inf"))
    if sinks is not None:
        sink = sinks.to(compute)[None, :, None, None].expand(batch, -1, rows, 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = scores.softmax(-1)[..., :keys]
    weights = weights.masked_fill(~mask[:, None], 0.0)  # a row of only -inf is NaN
    v = v.to(compute).masked_fill(~mask.any(1)[:, None, :, None], 0.0)  # 0 * NaN of an unseen key
    out = weights.view(batch, kv_heads, heads // kv_heads * rows, keys) @ v
    return out.view(batch, heads, rows, v.shape[-1]).to(k.dtype)


def attention_core(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: torch.Tensor,
    window: int | None,
    block: int,
    sink: int,
    scale: float,
    first_key: torch.Tensor | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotated q ``[B, Hq, Sq, D]`` over rotated k ``[B, Hkv, Skv, D]`` and v ``[B, Hkv, Skv, Dv]``,
    in time order."""
    rows = torch.arange(q.shape[2], device=q.device)
    keys = torch.arange(k.shape[2], device=q.device)
    seen = visible(bounds, rows, keys, window, block, sink, first_key)
    return masked_attention(q, k, v, seen, scale, softcap, sinks)


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    rope: Rope | None = None,
    positions: torch.Tensor | None = None,
    order: torch.Tensor | None = None,
    window: Window | None = None,
    q_offset: int | torch.Tensor = 0,
    kv_bounds: torch.Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The whole operator: into time order, rotate, attend, back into the rows they came from."""
    if order is not None:
        q, k, v = (gather_tokens(x, order) for x in (q, k, v))
    bounds = Bounds.of(
        window,
        batch=q.shape[0],
        queries=q.shape[2],
        keys=k.shape[2],
        device=q.device,
        q_offset=q_offset,
        kv_bounds=kv_bounds,
    )
    if rope is not None and positions is not None and k.shape[2] > 0:
        angles = rope_angles(positions, rope, compute_dtype(q)).expand(q.shape[0], -1, -1)
        k = rotate(k, angles, rope.attention_scaling)
        row = torch.arange(q.shape[2], device=q.device)
        rows = bounds.rows[:, Q_OFFSET, None].long() + row  # [B, Sq]
        q = rotate(q, angles.take_along_dim(rows[..., None], dim=1), rope.attention_scaling)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    sizes = (bounds.size, bounds.block, bounds.sink)
    first_key = bounds.first_key
    out = attention_core(q, k, v, bounds.rows, *sizes, scale, first_key, softcap, sinks)
    if order is None:
        return out
    storage_rows = order.long().expand(q.shape[0], -1).argsort(dim=-1)  # the inverse permutation
    return gather_tokens(out, storage_rows)


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """float32, or float64 for float64 input."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
