"""The public attention entry, and the operator ``intp_ext::attention_core`` behind it.

:func:`attention` is two steps: a prologue (bring the rows into time order, rotate) and the core,
which knows nothing of rope or order (csrc/attention). Memory is O(S).
"""

from __future__ import annotations

from typing import Any

import torch

from .. import _checks, reference
from .._autograd import mark_written, needs_autograd
from .._ops import add_op_namespace_prefix, ops
from ..rope import Rope
from ..window import Bounds, Window, check_bounds
from .apply_rope import apply_rope
from .rearrange import gather_tokens, inverse_order
from .token_order import check_permutation

MOST_SCALE = 2.0**127  # times log2(e) it is a float32


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
    bounds: Bounds | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention with fused token rearrangement, interpolated RoPE and a window of frames.

    Equivalent eager PyTorch, without ``order`` and ``window``::

        q, k = apply_rope(q, k, positions, rope)
        F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    and in full :func:`intp_ext.reference.attention`.

    Args:
        q: ``[B, Hq, Sq, D]`` float32, bfloat16 or float16, any strides with unit stride in D.
        k: ``[B, Hkv, Skv, D]``, dtype and device of q; ``Hq`` is a multiple of ``Hkv`` (GQA).
        v: ``[B, Hkv, Skv, Dv]`` like k; ``Dv`` is at most ``D`` (narrower in MLA).
        rope: rotates q and k first; None: they are already rotated, or need no rotation.
        positions: of all Skv keys, in time order: int32, int64 or float32 ``[Skv]``, ``[1 or B,
            Skv]``, or ``[3, 1 or B, Skv]`` for M-RoPE. Query row r is at entry ``q_offset + r``.
            Given with ``rope``.
        order: int32 or int64 ``[S]`` or ``[B, S]``, a permutation: row ``order[t]`` of q, k and v
            is the token at time t. Attention is computed in time order, and row ``order[t]`` of the
            result belongs to time t, so the result is in storage order too. Needs ``Sq == Skv``
            and ``q_offset == 0``.
        window: :class:`Window`; None for full causal attention.
        q_offset: absolute index of query row 0 (cached keys before it): an int, or int32 ``[]`` or
            ``[B]``, which is read on the device.
        kv_bounds: int32 ``[B, 2]``: row b sees keys ``lo <= j < hi``; for padding only.
        bounds: replaces ``window``, ``q_offset`` and ``kv_bounds`` in calls that share them
            (:class:`Bounds`); q and k must be rotated and in time order.
        scale: factor on the scores; None for ``D ** -0.5``.
        softcap: scores are ``softcap * tanh(scale * q k^T / softcap)`` (Gemma 2); above 0.
        sinks: float32, or q's dtype, ``[Hq]``: one more score in the softmax of every query, whose
            value is zero (gpt-oss).
        out: ``[B, Hq, Sq, Dv]`` to write into; refused when an input requires grad.

    Returns:
        ``[B, Hq, Sq, Dv]`` in q's dtype. A row that sees no key is zero. Backward recomputes
        through the definition and needs O(Sq * Skv) memory.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes that do not fit, mixed devices, ``positions`` shorter than the keys, or
            an ``order`` that is not a permutation (checked on the CPU; on a GPU by
            :func:`intp_ext.validate`).

    Source: INTP (Shang et al., arXiv 2409.12963), sections 3.1 and 3.2; sink: arXiv 2309.17453.
    """
    _check_states(q, k, v)
    if bounds is None:
        bounds = Bounds.of_call(window, q, k.shape[2], q_offset, kv_bounds, "attention")
    else:
        offset = None if isinstance(q_offset, int) and q_offset == 0 else q_offset
        others = {"rope": rope, "order": order, "window": window, "q_offset": offset}
        check_bounds("attention", bounds, q, **others, kv_bounds=kv_bounds)
    check_scale("attention", scale)
    check_softcap("attention", softcap)
    sinks = float_sinks("attention", sinks, q)
    if rope is not None or positions is not None:
        _check_rope(q, k, rope, positions, q_offset)
    if order is not None:
        _check_order(order, q, k, q_offset)
    if out is not None:
        _checks.out("attention", "out", out, (*q.shape[:3], v.shape[3]), q)
        _checks.out_without_grad("attention", q, k, v, sinks, out)

    if rope is not None and positions is not None:
        q, k = _rotate(q, k, positions, rope, order, q_offset)
    elif order is not None:
        q, k = gather_tokens(q, order), gather_tokens(k, order)
    if order is not None:
        v = gather_tokens(v, order)
    scale = q.shape[3] ** -0.5 if scale is None else float(scale)
    if order is None and out is not None:
        arguments = core_arguments(bounds, scale, softcap, sinks)
        ops.attention_core.out(q, k, v, *arguments, out=out)
        mark_written(out)
        return out
    result = attend(q, k, v, bounds, scale, softcap, sinks)
    if order is not None:
        result = gather_tokens(result, inverse_order(order))
    return result if out is None else out.copy_(result)


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bounds: Bounds,
    scale: float,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`attention` of rotated q and k, for callers who have checked their arguments.

    It checks only what keeps the kernel inside its memory; ``sinks`` are contiguous float32.
    """
    core = ops.attention_core if needs_autograd(q, k, v, sinks) else ops.attention_core_no_grad
    result: torch.Tensor = core(q, k, v, *core_arguments(bounds, scale, softcap, sinks))
    return result


def core_arguments(
    bounds: Bounds, scale: float, softcap: float | None, sinks: torch.Tensor | None
) -> tuple[object, ...]:
    """What follows tensors of keys and values in the schemas of the operators."""
    seen = (bounds.rows, bounds.size, bounds.block, bounds.sink)
    return *seen, scale, bounds.first_key, softcap, sinks


def _rotate(
    q: torch.Tensor,
    k: torch.Tensor,
    positions: torch.Tensor,
    rope: Rope,
    order: torch.Tensor | None,
    q_offset: int | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    rows, keys = q.shape[2], k.shape[2]
    if keys == 0:
        return q, k  # no query sees a key, and there are no positions
    whole = rows == keys and isinstance(q_offset, int)
    if whole:
        return apply_rope(q, k, positions, rope, order)
    _, k = apply_rope(None, k, positions, rope)
    if isinstance(q_offset, int):
        at = positions[..., q_offset : q_offset + rows]
    else:  # read on the device, where a row past the last key cannot be reported: clamped
        row = torch.arange(rows, device=q.device)
        index = (q_offset.long().reshape(-1, 1) + row).clamp_(0, keys - 1)  # [1 or B, Sq]
        lead = positions.shape[:-1] if positions.dim() > 1 else (1,)
        shape = (*lead[:-1], max(lead[-1], index.shape[0]))
        at = positions.expand(*shape, keys).gather(-1, index.expand(*shape, rows))
    q, _ = apply_rope(q, None, at, rope)
    return q, k


def _check_rope(
    q: torch.Tensor,
    k: torch.Tensor,
    rope: Rope | None,
    positions: torch.Tensor | None,
    q_offset: int | torch.Tensor,
) -> None:
    """What apply_rope does not check of its own arguments."""
    rows, keys = q.shape[2], k.shape[2]
    if (rope is None) != (positions is None):
        given, missing = ("positions", "rope") if rope is None else ("rope", "positions")
        raise ValueError(f"attention: {missing}: expected together with {given}, got None")
    if rope is None or positions is None:
        return
    if not isinstance(rope, Rope):
        raise TypeError(f"attention: rope: expected a Rope, got {type(rope).__name__}")
    if _checks.tensor("attention", "positions", positions).dim() == 0:
        raise ValueError("attention: positions: expected one for each key, got a scalar")
    if positions.shape[-1] != keys:
        raise ValueError(
            f"attention: positions: expected one for each of the {keys} keys, got "
            f"{list(positions.shape)}"
        )
    if isinstance(q_offset, int) and rows > keys > 0:
        raise ValueError(
            f"attention: q: expected at most one row for each of the {keys} positions with "
            f"rope, got {rows} rows; give positions for all of them, or rotate q and k before"
        )


def _check_states(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    batch, heads, _, dim = _checks.states("attention", "q", q)
    dtype, device = q.dtype, q.device
    for name, x in (("k", k), ("v", v)):
        shape = _checks.states("attention", name, x)
        if x.dtype != dtype:
            raise TypeError(f"attention: {name}: expected q's dtype {dtype}, got {x.dtype}")
        if x.device != device:
            raise ValueError(f"attention: {name}: expected q's device {device}, got {x.device}")
        if shape[0] != batch or (shape[3] != dim and name != "v"):
            raise ValueError(
                f"attention: {name}: expected batch {batch} and head_dim {dim}, got {list(shape)}"
            )
    keys, values = k.shape, v.shape
    if values != keys and (values[:3] != keys[:3] or values[3] > dim):
        raise ValueError(
            f"attention: v: expected k's shape {list(keys)}, or fewer channels, got {list(values)}"
        )
    if keys[1] == 0 or heads % keys[1]:
        raise ValueError(
            f"attention: k: expected a number of heads that divides q's {heads}, got {keys[1]}"
        )


def check_scale(where: str, scale: float | None) -> None:
    if scale is not None and abs(_checks.number(where, "scale", scale)) >= MOST_SCALE:
        raise ValueError(f"{where}: scale: expected less than 2^127, got {scale}")


def check_softcap(where: str, softcap: float | None) -> None:
    if softcap is None:
        return
    least, most = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
    if not least <= _checks.number(where, "softcap", softcap) <= most:
        raise ValueError(f"{where}: softcap: expected a positive float32, got {softcap}")


def float_sinks(where: str, sinks: object, q: torch.Tensor) -> torch.Tensor | None:
    """As the operators take them: contiguous float32."""
    if sinks is None:
        return None
    sinks = _checks.tensor(where, "sinks", sinks)
    if sinks.dtype not in (torch.float32, q.dtype):
        raise TypeError(
            f"{where}: sinks: expected float32 or q's dtype {q.dtype}, got {sinks.dtype}"
        )
    if sinks.shape != q.shape[1:2]:
        raise ValueError(
            f"{where}: sinks: expected one for each of q's {q.shape[1]} heads, got "
            f"{list(sinks.shape)}"
        )
    _checks.same_device(where, "sinks", sinks, "q", q)
    return sinks.float().contiguous()


def _check_order(
    order: torch.Tensor, q: torch.Tensor, k: torch.Tensor, q_offset: int | torch.Tensor
) -> None:
    batch, rows, keys, device = q.shape[0], q.shape[2], k.shape[2], q.device
    if not isinstance(order, torch.Tensor) or order.dtype not in (torch.int32, torch.int64):
        got = getattr(order, "dtype", type(order).__name__)
        raise TypeError(f"attention: order: expected int32 or int64 [S] or [B, S], got {got}")
    if rows != keys or not isinstance(q_offset, int) or q_offset != 0:
        raise ValueError(
            f"attention: order: expected the whole sequence (Sq = Skv, q_offset 0), got {rows} "
            f"queries over {keys} keys, q_offset {q_offset}"
        )
    if order.shape not in ((rows,), (1, rows), (batch, rows)):
        raise ValueError(
            f"attention: order: expected [{rows}] or [{batch}, {rows}], got {list(order.shape)}"
        )
    if order.device != device:
        raise ValueError(f"attention: order: expected on {device}, got {order.device}")
    if device.type == "cpu" and not torch.compiler.is_compiling():
        check_permutation("attention", order)


def result_like(q: torch.Tensor, v: torch.Tensor | None = None) -> torch.Tensor:
    """Memory for the result, with v's channels, or q's; transposed if q is a transposed
    ``[B, S, H, D]``, as in csrc/attention/op.h."""
    batch, heads, rows, dim = q.shape
    dim = dim if v is None else v.shape[3]
    if q.stride(1) < q.stride(2):
        return q.new_empty(batch, rows, heads, dim).transpose(1, 2)
    return q.new_empty(batch, heads, rows, dim)


@torch.library.register_fake(add_op_namespace_prefix("attention_core"))
@torch.library.register_fake(add_op_namespace_prefix("attention_core_no_grad"))
def _fake(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: object) -> torch.Tensor:
    return result_like(q, v)


@torch.library.register_fake(add_op_namespace_prefix("attention_core.out"))
def _fake_out(*args: object, out: torch.Tensor) -> None:
    return None


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    q, k, v, bounds, *ctx.sizes, ctx.scale, first_key, ctx.softcap, sinks = inputs
    ctx.save_for_backward(q, k, v, sinks, bounds, first_key)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    *states, sinks, bounds, first_key = ctx.saved_tensors
    needed = (*ctx.needs_input_grad[:3], ctx.needs_input_grad[-1])
    again = torch.is_grad_enabled()  # create_graph=True: the result is differentiated again

    def alias(x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x) if again else x.detach().requires_grad_()

    with torch.enable_grad():
        # an alias of each, because q, k and v may be one tensor
        q, k, v = (alias(x) for x in states)
        sinks = None if sinks is None else alias(sinks)
        window, block, sink = ctx.sizes
        out = reference.attention_core(
            q, k, v, bounds, window, block, sink, ctx.scale, first_key, ctx.softcap, sinks
        )
        inputs = (q, k, v, sinks)
        wanted = [x for x, need in zip(inputs, needed, strict=True) if need and x is not None]
        grads = iter(torch.autograd.grad(out, wanted, grad, create_graph=again))
    *of_states, of_sinks = (next(grads) if need else None for need in needed)
    return (*of_states, *[None] * (len(ctx.needs_input_grad) - 4), of_sinks)


torch.library.register_autograd(
    add_op_namespace_prefix("attention_core"), _backward, setup_context=_setup_context
)
