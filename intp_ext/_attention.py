"""The public attention entry, and the operator ``intp_ext::attention_core`` behind it.

:func:`attention` is two steps: a prologue (bring the rows into time order, rotate) and the core,
which knows nothing of rope or order (csrc/attention). Memory is O(S).
"""

from __future__ import annotations

import torch

from . import _checks, reference
from ._autograd import mark_written
from .ops import apply_rope, rearrange
from .rope import Rope
from .window import Window

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
    scale: float | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Causal attention with fused token rearrangement, interpolated RoPE and a window of frames.

    Equivalent eager PyTorch, with neither ``order`` nor ``window``::

        q, k = apply_rope(q, k, positions, rope)
        F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    and in full :func:`intp_ext.reference.attention`.

    Args:
        q: ``[B, Hq, Sq, D]`` float32, bfloat16 or float16, any strides with unit stride in D.
        k, v: ``[B, Hkv, Skv, D]``, dtype and device of q; ``Hq`` is a multiple of ``Hkv`` (GQA).
        rope: rotate q and k on the way in; None: they are rotated already, or need no rotation.
        positions: of all Skv keys, in time order: int32, int64 or float32 ``[Skv]``, ``[1 or B,
            Skv]``, or ``[3, 1 or B, Skv]`` for M-RoPE. Query row r is at entry ``q_offset + r``.
            Given with ``rope``.
        order: int32 or int64 ``[S]`` or ``[B, S]``, a permutation: row ``order[t]`` of q, k and v
            is the token at time t. Attention is computed in time order and row ``order[t]`` of the
            result belongs to
            time t: storage order in, storage order out. Needs ``Sq == Skv`` and ``q_offset == 0``.
        window: :class:`Window`; None for full causal attention.
        q_offset: absolute index of query row 0 (cached keys before it): an int, or int32 ``[]`` or
            ``[B]``, which is read on the device.
        kv_bounds: int32 ``[B, 2]``: row b sees keys ``lo <= j < hi``; padding, and nothing else.
        scale: factor on the scores; None for ``D ** -0.5``.
        out: ``[B, Hq, Sq, D]`` to write into; refused when an input requires grad.

    Returns:
        ``[B, Hq, Sq, D]`` in q's dtype. A row that sees no key is zero. Backward recomputes through
        the definition and needs O(Sq * Skv) memory.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: shapes that do not fit, mixed devices, ``positions`` shorter than the keys, an
            ``order`` that is no permutation (checked on the CPU; on a GPU by
            :func:`intp_ext.validate`).

    Source: INTP (Shang et al., arXiv 2409.12963), sections 3.1 and 3.2; sink: arXiv 2309.17453.
    """
    _check(q, k, v, rope, positions, order, window, q_offset, kv_bounds, scale, out)
    batch, keys, dim = q.shape[0], k.shape[2], q.shape[3]
    if rope is not None:
        q, k = _rotate(q, k, positions, rope, order, q_offset)
    elif order is not None:
        q, k = _gather_tokens(q, order), _gather_tokens(k, order)
    if order is not None:
        v = _gather_tokens(v, order)

    bounds = reference.pack_bounds(batch, keys, q.device, window, q_offset, kv_bounds)
    size, block, sink = (None, 1, 0) if window is None else (window.size, window.block, window.sink)
    scale = dim**-0.5 if scale is None else float(scale)
    if order is None and out is not None:
        torch.ops.intp_ext.attention_core.out(q, k, v, bounds, size, block, sink, scale, out=out)
        mark_written(out)
        return out
    result = torch.ops.intp_ext.attention_core(q, k, v, bounds, size, block, sink, scale)
    if order is not None:
        result = _gather_tokens(result, _inverse(order))
    return result if out is None else out.copy_(result)


def _gather_tokens(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """``x[:, :, order]`` of x ``[B, H, S, D]``, by the operator that moves rows."""
    batch, heads, _, dim = x.shape
    if x.stride(1) < x.stride(2):  # [B, S, H, D] in memory: all heads of a token are one row
        rows = rearrange(x.transpose(1, 2).flatten(2), order)
        return rows.unflatten(2, (heads, dim)).transpose(1, 2)
    if order.dim() == 2 and order.shape[0] > 1:
        order = order.repeat_interleave(heads, 0)  # [B * H, S]
    return rearrange(x.flatten(0, 1), order).unflatten(0, (batch, heads))


def _inverse(order: torch.Tensor) -> torch.Tensor:
    """The time position of each storage row: ``inverse[order[t]] = t``."""
    time = torch.arange(order.shape[-1], dtype=order.dtype, device=order.device)
    return torch.zeros_like(order).scatter(-1, order.long(), time.expand_as(order))


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
        return q, k  # nobody sees anything, and there is no position to turn to
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


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    rope: Rope | None,
    positions: torch.Tensor | None,
    order: torch.Tensor | None,
    window: Window | None,
    q_offset: int | torch.Tensor,
    kv_bounds: torch.Tensor | None,
    scale: float | None,
    out: torch.Tensor | None,
) -> None:
    """All that can be checked without reading device memory, and on the CPU the rest."""
    _check_states(q, k, v)
    batch, _, rows, _ = q.shape
    keys = k.shape[2]
    if (rope is None) != (positions is None):
        given, missing = ("positions", "rope") if rope is None else ("rope", "positions")
        raise ValueError(f"attention: {missing}: expected together with {given}, got None")
    if rope is not None and not isinstance(rope, Rope):
        raise TypeError(f"attention: rope: expected a Rope, got {type(rope).__name__}")
    if positions is not None and _checks.tensor("attention", "positions", positions).dim() == 0:
        raise ValueError("attention: positions: expected one for each key, got a scalar")
    if positions is not None and positions.shape[-1] != keys:
        raise ValueError(
            f"attention: positions: expected one for each of the {keys} keys, got "
            f"{list(positions.shape)}"
        )
    check_window("attention", window, batch, q.device)
    check_offset("attention", q_offset, batch, rows, keys, q.device)
    if rope is not None and isinstance(q_offset, int) and rows > keys > 0:
        raise ValueError(
            f"attention: q: expected at most one row for each of the {keys} positions with "
            f"rope, got {rows} rows; give positions for all of them, or rotate q and k before"
        )
    if kv_bounds is not None:
        _checks.kv_bounds("attention", kv_bounds, batch, "q", q)
    check_scale("attention", scale)
    if order is not None:
        _check_order(order, batch, rows, keys, q_offset, q.device)
    if out is not None:
        _checks.out("attention", "out", out, q.shape, q)
        _checks.out_without_grad("attention", q, k, v, out)


def _check_states(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"attention: {name}: expected a tensor, got {type(x).__name__}")
        if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise TypeError(
                f"attention: {name}: expected float32, bfloat16 or float16, got {x.dtype}"
            )
        if x.dim() != 4:
            raise ValueError(f"attention: {name}: expected [B, H, S, D], got {list(x.shape)}")
        _checks.kernel_device("attention", name, x)
        if x.dtype != q.dtype:
            raise TypeError(f"attention: {name}: expected q's dtype {q.dtype}, got {x.dtype}")
        if not _checks.has_unit_stride(x):
            raise ValueError(
                f"attention: {name}: expected unit stride in D, got strides {list(x.stride())}"
            )
        if x.device != q.device:
            raise ValueError(f"attention: {name}: expected q's device {q.device}, got {x.device}")
        if x.shape[0] != q.shape[0] or x.shape[3] != q.shape[3]:
            raise ValueError(
                f"attention: {name}: expected batch {q.shape[0]} and head_dim {q.shape[3]}, got "
                f"{list(x.shape)}"
            )
    if k.shape != v.shape:
        raise ValueError(f"attention: v: expected k's shape {list(k.shape)}, got {list(v.shape)}")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"attention: k: expected a number of heads that divides q's {q.shape[1]}, got "
            f"{k.shape[1]}"
        )


def check_offset(
    where: str,
    q_offset: int | torch.Tensor,
    batch: int,
    rows: int,
    keys: int,
    device: torch.device,
) -> None:
    if not isinstance(q_offset, int) or isinstance(q_offset, bool):
        return _check_row_index(f"{where}: q_offset", q_offset, batch, device, scalar=True)
    if q_offset < 0 or q_offset + rows > max(keys, rows):
        raise ValueError(
            f"{where}: q_offset: expected 0 to {max(keys - rows, 0)} "
            f"({rows} queries over {keys} keys), got {q_offset}"
        )


def _check_row_index(
    name: str, value: int | torch.Tensor | None, batch: int, device: torch.device, *, scalar: bool
) -> None:
    """An int, or an int32 tensor with one entry per row of the batch."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"{name}: expected an int32, got {value}")
        return
    if value is None:
        return
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int32:
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name}: expected an int or an int32 tensor, got {got}")
    if value.shape != (batch,) and not (scalar and value.dim() == 0):
        shapes = f"[] or [{batch}]" if scalar else f"[{batch}]"
        raise ValueError(f"{name}: expected shape {shapes}, got {list(value.shape)}")
    if value.device != device:
        raise ValueError(f"{name}: expected on {device}, got {value.device}")


def check_window(where: str, window: Window | None, batch: int, device: torch.device) -> None:
    if window is None:
        return
    if not isinstance(window, Window):
        raise TypeError(f"{where}: window: expected a Window, got {type(window).__name__}")
    for name in ("block_start", "dense_from"):
        value = getattr(window, name)
        _check_row_index(f"{where}: window.{name}", value, batch, device, scalar=False)


def check_scale(where: str, scale: float | None) -> None:
    if scale is not None and abs(_checks.number(where, "scale", scale)) >= MOST_SCALE:
        raise ValueError(f"{where}: scale: expected less than 2^127, got {scale}")


def _check_order(
    order: torch.Tensor,
    batch: int,
    rows: int,
    keys: int,
    q_offset: int | torch.Tensor,
    device: torch.device,
) -> None:
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


def check_permutation(where: str, order: torch.Tensor) -> None:
    """Raise ValueError unless every row of ``order`` holds each of 0..S-1 once (reads device
    memory)."""
    ordered = order.long().sort(dim=-1).values
    if not torch.equal(
        ordered, torch.arange(order.shape[-1], device=order.device).expand_as(ordered)
    ):
        raise ValueError(f"{where}: order: expected a permutation of 0..{order.shape[-1] - 1}")


def _fake(q, k, v, bounds, window, block, sink, scale):
    batch, heads, rows, dim = q.shape
    if q.stride(1) < q.stride(2):  # as in csrc/attention/attention_op.h
        return q.new_empty(batch, rows, heads, dim).transpose(1, 2)
    return q.new_empty(batch, heads, rows, dim)


def _fake_out(q, k, v, bounds, window, block, sink, scale, out):
    return None


def _setup_context(ctx, inputs, output):
    *tensors, ctx.window, ctx.block, ctx.sink, ctx.scale = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, grad):
    *states, bounds = ctx.saved_tensors
    needed = ctx.needs_input_grad[:3]
    again = torch.is_grad_enabled()  # create_graph=True: what is returned is derived once more
    with torch.enable_grad():
        # an alias of each, because q, k and v may be one tensor
        states = [x.view_as(x) if again else x.detach().requires_grad_() for x in states]
        out = reference.attention_core(*states, bounds, ctx.window, ctx.block, ctx.sink, ctx.scale)
        wanted = [x for x, need in zip(states, needed, strict=True) if need]
        grads = iter(torch.autograd.grad(out, wanted, grad, create_graph=again))
    return (*(next(grads) if need else None for need in needed), None, None, None, None, None)


_library = torch.library.Library("intp_ext", "IMPL")


def register() -> None:
    """Give the declared operator its fake and autograd formula."""
    torch.library.register_fake("intp_ext::attention_core", _fake, lib=_library)
    torch.library.register_fake("intp_ext::attention_core.out", _fake_out, lib=_library)
    torch.library.register_autograd(
        "intp_ext::attention_core", _backward, setup_context=_setup_context, lib=_library
    )


register()
