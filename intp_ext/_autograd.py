"""Backward formulas: both operators are linear, and their transposes are cheap. And what autograd
has to be told of tensors that are written."""

from __future__ import annotations

import torch


def mark_written(*tensors: torch.Tensor | None) -> None:
    """As torch's own ``out=`` does: a backward that needs what was overwritten raises.

    Compiled code sees from the schemas what is written; tensors of inference mode, which nobody
    derives, have no versions.
    """
    if torch.compiler.is_compiling():
        return
    torch.autograd.graph.increment_version(
        [x for x in tensors if x is not None and not x.is_inference()]
    )


def _scatter_rows(grad: torch.Tensor, order: torch.Tensor, rows: int, dim: int) -> torch.Tensor:
    """The transpose of a gather of ``rows`` rows along ``dim``: rows taken twice add up."""
    shape = list(grad.shape)
    shape[dim] = rows
    total = grad.new_zeros(shape)
    if order.dim() == 1:
        return total.index_add(dim, order, grad)
    index = order.long().view(order.shape[0], *[1] * (dim - 1), -1, *[1] * (grad.dim() - dim - 1))
    return total.scatter_add(dim, index.expand(grad.shape), grad)


def _rearrange_setup(ctx, inputs, output):
    features, order = inputs
    ctx.save_for_backward(order)
    ctx.rows = features.shape[1]


def _rearrange_backward(ctx, grad):
    (order,) = ctx.saved_tensors
    return _scatter_rows(grad, order, ctx.rows, dim=1), None


def _turn_back(grad, rows, positions, inv_freq, scaling, sections, interleaved, order):
    """The transpose of a turn is the turn by the opposite angle."""
    if grad is None:
        return None
    grad = torch.ops.intp_ext.apply_rope.single(
        grad if grad.stride(-1) == 1 else grad.contiguous(),
        -positions, inv_freq, scaling, sections, interleaved, None,
    )  # fmt: skip
    return grad if order is None else _scatter_rows(grad, order, rows, dim=2)


def _rope_setup(ctx, inputs, output):
    x, *_, positions, inv_freq, scaling, sections, interleaved, order = inputs
    ctx.save_for_backward(positions, inv_freq, order)
    ctx.rope = (scaling, sections, interleaved)
    ctx.rows = x.shape[2]


def _rope_backward(ctx, *grads):
    positions, inv_freq, order = ctx.saved_tensors
    turned = [_turn_back(g, ctx.rows, positions, inv_freq, *ctx.rope, order) for g in grads]
    return (*turned, None, None, None, None, None, None)


torch.library.register_autograd(
    "intp_ext::rearrange", _rearrange_backward, setup_context=_rearrange_setup
)
for _overload in ("apply_rope", "apply_rope.single"):
    torch.library.register_autograd(
        f"intp_ext::{_overload}", _rope_backward, setup_context=_rope_setup
    )
