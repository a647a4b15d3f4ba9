"""``apply_rope``."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from .. import _checks
from .._autograd import mark_written, needs_autograd
from .._ops import add_op_namespace_prefix, ops
from ..rope import Rope
from .rearrange import scatter_rows

Q = TypeVar("Q", bound=torch.Tensor | None)
K = TypeVar("K", bound=torch.Tensor | None)


def apply_rope(
    q: Q,
    k: K,
    positions: torch.Tensor,
    rope: Rope,
    order: torch.Tensor | None = None,
    *,
    out: tuple[Q, K] | None = None,
) -> tuple[Q, K]:
    """Turns channel pairs ``(d, d + F)`` of q and k by ``positions * rope.inv_freq``.

    RoPE (RoFormer, arXiv 2104.09864) in the rotate-half convention, with an optional gather by
    ``order`` in the same pass. Angles, sines and products are float32 whatever the dtype of q and
    k; sines are computed once per position for all heads.

    Args:
        q: float32, bfloat16 or float16 ``[B, Hq, S, D]``, unit stride in D and any others; or None.
        k: ``[B, Hkv, S, D]`` like q, or None.
        positions: int32, int64 or float32 (fractions of a step), one for each OUTPUT row: ``[S]``,
            ``[1 or B, S]``, or for a rope with sections (M-RoPE) ``[3, 1 or B, S]``: temporal,
            height, width.
        rope: frequencies on q's device; ``rope.rotary_dim <= D``, the channels beyond pass through.
        order: int32 or int64 ``[S]`` or ``[B, S]``: row t of the output is row ``order[t]`` of the
            input, turned to ``positions[t]``.
        out: (q, k) to write into, None where the input is None, sharing no memory with the inputs;
            refused when an input requires grad.

    Returns:
        (q, k), None where the input is None; a transposed ``[B, S, H, D]`` gives a transposed
        ``[B, S, H, D]``, everything else is contiguous.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes or strides that do not fit, mixed devices, positions that require grad;
            on the CPU a row of ``order`` out of range (CUDA writes zeros, see :func:`validate`).

    Eager equivalent, without order and sections::

        angles = positions[..., None].float() * rope.inv_freq
        cos, sin = (f(angles) * rope.attention_scaling for f in (torch.cos, torch.sin))
        a, b = q.float().chunk(2, dim=-1)
        q = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(q.dtype)

    Differentiable in q and k.
    """
    where = "apply_rope"
    x = _checks.rope_states(where, q, k)
    x_name = "k" if q is None else "q"
    if order is not None:
        _checks.order(where, order, x.shape[0], x_name, x)
    length = x.shape[2] if order is None else order.shape[-1]
    _checks.rope(where, rope, x_name, x)
    _checks.positions(where, positions, x.shape[0], length, rope, x_name, x)
    if out is not None:
        _check_out(where, (q, k), length, out)
    args = _arguments(positions, rope, order)
    op = ops.apply_rope
    if q is not None and k is not None:
        if out is None:
            op = op if needs_autograd(q, k) else ops.apply_rope_no_grad
            return op(q, k, *args)
        op.out(q, k, *args, out_q=out[0], out_k=out[1])
        mark_written(*out)
        return out
    if out is None:
        turned = rotate(x, positions, rope, order)
        pair: Any = (None, turned) if q is None else (turned, None)
        return pair
    op.single_out(x, *args, out=out[1] if q is None else out[0])
    mark_written(*out)
    return out


def rotate(
    x: torch.Tensor, positions: torch.Tensor, rope: Rope, order: torch.Tensor | None = None
) -> torch.Tensor:
    """:func:`apply_rope` of one tensor, for callers who have checked their arguments.

    It checks only what keeps the kernel inside its memory.
    """
    op = ops.apply_rope if needs_autograd(x) else ops.apply_rope_no_grad
    turned: torch.Tensor = op.single(x, *_arguments(positions, rope, order))
    return turned


def _arguments(
    positions: torch.Tensor, rope: Rope, order: torch.Tensor | None
) -> tuple[object, ...]:
    """What follows q and k in the operator's schema."""
    sections = None if rope.sections is None else list(rope.sections)
    return (
        positions, rope.inv_freq.contiguous(), rope.attention_scaling, sections,
        rope.interleaved_sections, order,
    )  # fmt: skip


def _check_out(
    where: str,
    states: tuple[torch.Tensor | None, torch.Tensor | None],
    length: int,
    out: tuple[torch.Tensor | None, torch.Tensor | None],
) -> None:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{where}: out: expected a tuple (q, k), got {type(out).__name__}")
    for index, (x, target) in enumerate(zip(states, out, strict=True)):
        name = f"out[{index}]"
        if x is None:
            if target is not None:
                raise TypeError(f"{where}: {name}: expected None, as the input, got a tensor")
            continue
        batch, heads, _, dim = x.shape
        _checks.out(where, name, target, (batch, heads, length, dim), x)
    _checks.out_without_grad(where, *states, *out)


def _like(x: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """A transposed ``[B, S, H, D]`` gives another one, as in csrc/rope/op.h."""
    batch, heads, rows, dim = x.shape
    length = rows if order is None else order.shape[-1]
    if x.stride(1) < x.stride(2):
        return x.new_empty(batch, length, heads, dim).transpose(1, 2)
    return x.new_empty(batch, heads, length, dim)


@torch.library.register_fake(add_op_namespace_prefix("apply_rope"))
@torch.library.register_fake(add_op_namespace_prefix("apply_rope_no_grad"))
def _fake(
    q: torch.Tensor,
    k: torch.Tensor,
    positions: torch.Tensor,
    inv_freq: torch.Tensor,
    attention_scaling: float,
    sections: list[int] | None,
    interleaved_sections: bool,
    order: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    return _like(q, order), _like(k, order)


@torch.library.register_fake(add_op_namespace_prefix("apply_rope.out"))
def _fake_out(*args: object, out_q: torch.Tensor, out_k: torch.Tensor) -> None:
    return None


@torch.library.register_fake(add_op_namespace_prefix("apply_rope.single"))
@torch.library.register_fake(add_op_namespace_prefix("apply_rope_no_grad.single"))
def _fake_single(
    x: torch.Tensor,
    positions: torch.Tensor,
    inv_freq: torch.Tensor,
    attention_scaling: float,
    sections: list[int] | None,
    interleaved_sections: bool,
    order: torch.Tensor | None,
) -> torch.Tensor:
    return _like(x, order)


@torch.library.register_fake(add_op_namespace_prefix("apply_rope.single_out"))
def _fake_single_out(*args: object, out: torch.Tensor) -> None:
    return None


def _turn_back(
    grad: torch.Tensor | None,
    rows: int,
    positions: torch.Tensor,
    inv_freq: torch.Tensor,
    rope: tuple[float, list[int] | None, bool],
    order: torch.Tensor | None,
) -> torch.Tensor | None:
    """The transpose of a turn is the turn by the opposite angle."""
    if grad is None:
        return None
    turned: torch.Tensor = ops.apply_rope.single(
        grad if grad.stride(-1) == 1 else grad.contiguous(), -positions, inv_freq, *rope, None
    )
    return turned if order is None else scatter_rows(turned, order, rows, dim=2)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    x, *_, positions, inv_freq, scaling, sections, interleaved, order = inputs
    ctx.save_for_backward(positions, inv_freq, order)
    ctx.rope = (scaling, sections, interleaved)
    ctx.rows = x.shape[2]


def _backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    positions, inv_freq, order = ctx.saved_tensors
    turned = [_turn_back(g, ctx.rows, positions, inv_freq, ctx.rope, order) for g in grads]
    return (*turned, None, None, None, None, None, None)


for _overload in ("apply_rope", "apply_rope.single"):
    torch.library.register_autograd(
        add_op_namespace_prefix(_overload), _backward, setup_context=_setup_context
    )
