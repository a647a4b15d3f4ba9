"""``rearrange``, and helpers that reorder rows of heads with it."""

from __future__ import annotations

from typing import Any

import torch

from .. import _checks
from .._autograd import mark_written, needs_autograd
from .._ops import add_op_namespace_prefix, ops


def rearrange(
    features: torch.Tensor, order: torch.Tensor, *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Rows of ``features`` in the order ``order``; bitwise exact.

    Args:
        features: ``[B, R, C]``, any dtype, any strides with unit stride in C.
        order: int32 or int64 ``[S]`` or ``[B, S]``, ``0 <= order < R``, usually a token order; a
            row may be taken more than once, or not at all.
        out: ``[B, S, C]`` to write into, sharing no memory with ``features``; refused when
            ``features`` requires grad.

    Returns:
        ``[B, S, C]``: ``out[b, s] = features[b, order[b, s]]``.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes or strides that do not fit, mixed devices; on the CPU a row out of range
            (a CUDA kernel writes zeros there, see :func:`validate`).

    Eager equivalent: ``features[:, order]``. Differentiable in ``features``.
    """
    where = "rearrange"
    _checks.tensor(where, "features", features)
    if features.dim() != 3:
        raise ValueError(f"{where}: features: expected [B, R, C], got {list(features.shape)}")
    _checks.kernel_device(where, "features", features)
    _checks.unit_stride(where, "features", features)
    _checks.order(where, order, features.shape[0], "features", features)
    if out is None and needs_autograd(features):
        return ops.rearrange(features, order)
    shape = (features.shape[0], order.shape[-1], features.shape[2])
    if out is None:
        made = features.new_empty(shape)
        ops.rearrange.out(features, order, out=made)
        return made
    _checks.out(where, "out", out, shape, features)
    _checks.out_without_grad(where, features, out)
    ops.rearrange.out(features, order, out=out)
    mark_written(out)
    return out


def gather_tokens(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """``x[:, :, order]`` of x ``[B, H, S, D]``, by the operator that moves rows."""
    batch, heads, _, dim = x.shape
    if x.stride(1) < x.stride(2):  # [B, S, H, D] in memory: all heads of a token are one row
        rows = rearrange(x.transpose(1, 2).flatten(2), order)
        return rows.unflatten(2, (heads, dim)).transpose(1, 2)
    if order.dim() == 2 and order.shape[0] > 1:
        order = order.repeat_interleave(heads, 0)  # [B * H, S]
    return rearrange(x.flatten(0, 1), order).unflatten(0, (batch, heads))


def inverse_order(order: torch.Tensor) -> torch.Tensor:
    """The time position of each storage row: ``inverse[order[t]] = t``."""
    time = torch.arange(order.shape[-1], dtype=order.dtype, device=order.device)
    return torch.zeros_like(order).scatter(-1, order.long(), time.expand_as(order))


def scatter_rows(grad: torch.Tensor, order: torch.Tensor, rows: int, dim: int) -> torch.Tensor:
    """The transpose of a gather of ``rows`` rows along ``dim``: rows taken twice add up."""
    shape = list(grad.shape)
    shape[dim] = rows
    total = grad.new_zeros(shape)
    if order.dim() == 1:
        return total.index_add(dim, order, grad)
    index = order.long().view(order.shape[0], *[1] * (dim - 1), -1, *[1] * (grad.dim() - dim - 1))
    return total.scatter_add(dim, index.expand(grad.shape), grad)


@torch.library.register_fake(add_op_namespace_prefix("rearrange"))
def _fake(features: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    batch, _, channels = features.shape
    return features.new_empty(batch, order.shape[-1], channels)


@torch.library.register_fake(add_op_namespace_prefix("rearrange.out"))
def _fake_out(*args: object, out: torch.Tensor) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: object) -> None:
    features, order = inputs
    ctx.save_for_backward(order)
    ctx.rows = features.shape[1]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
    (order,) = ctx.saved_tensors
    return scatter_rows(grad, order, ctx.rows, dim=1), None


torch.library.register_autograd(
    add_op_namespace_prefix("rearrange"), _backward, setup_context=_setup_context
)
