"""The public operators: checks, then the kernel.

Shapes: B batch, Hq query heads, Hkv key heads, S tokens, D head_dim, F = D_rot/2 frequencies.
"""

from __future__ import annotations

import torch

from . import _checks, _fake  # noqa: F401  (registrations)
from ._autograd import mark_written
from .reference import GROUPINGS
from .rope import Rope


def token_order(
    groups: int,
    frames_per_group: int,
    tokens_per_frame: int,
    grouping: str = "interleaved",
    *,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """The storage row of the token at each time position, when frames were encoded in groups.

    Tokens are stored as (group g, frame n of the group, token p of the frame). ``"interleaved"``:
    group g holds frames g, g + m, g + 2m, ... of the video, m = ``groups`` (INTP, arXiv 2409.12963,
    section 3.1). ``"contiguous"``: group g holds ``frames_per_group`` frames in a row.

    Args:
        groups: m.
        frames_per_group: N, the number of frames that the video encoder takes.
        tokens_per_frame: P.
        grouping: ``"interleaved"`` or ``"contiguous"``.
        device: where the result is made, without a copy from the host.

    Returns:
        int32 ``[S]``, S = m * N * P: a permutation; ``order[t]`` is the row of the token at time t.

    Raises:
        TypeError: a count that is no int.
        ValueError: a negative count, an unknown grouping, more than 2^31 - 1 tokens.

    Eager equivalent::

        rows = torch.arange(m * N * P, dtype=torch.int32).view(m, N, P)
        order = (rows.transpose(0, 1) if grouping == "interleaved" else rows).flatten()
    """
    where = "token_order"
    counts = [
        _checks.count(where, name, value)
        for name, value in (
            ("groups", groups),
            ("frames_per_group", frames_per_group),
            ("tokens_per_frame", tokens_per_frame),
        )
    ]
    if grouping not in GROUPINGS:
        raise ValueError(f"{where}: grouping: expected one of {GROUPINGS}, got {grouping!r}")
    for name, value in zip(("groups", "frames_per_group", "tokens_per_frame"), counts, strict=True):
        if value >= 2**31:
            raise ValueError(f"{where}: {name}: expected less than 2^31, got {value}")
    length = counts[0] * counts[1] * counts[2]
    if length >= 2**31:
        raise ValueError(f"{where}: expected fewer than 2^31 tokens, got {length}")
    order = torch.empty(length, dtype=torch.int32, device=device)
    _checks.kernel_device(where, "device", order)
    torch.ops.intp_ext.token_order(*counts, grouping == "interleaved", out=order)
    return order


def rearrange(
    features: torch.Tensor, order: torch.Tensor, *, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Rows of ``features`` in the order ``order``; bitwise exact.

    Args:
        features: ``[B, R, C]``, any dtype, any strides with unit stride in C.
        order: int32 or int64 ``[S]`` or ``[B, S]``, ``0 <= order < R``, usually a token order; a
            row may be taken more than once, or never.
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
    if out is None:
        return torch.ops.intp_ext.rearrange(features, order)
    shape = (features.shape[0], order.shape[-1], features.shape[2])
    _checks.out(where, "out", out, shape, features)
    _checks.out_without_grad(where, features, out)
    torch.ops.intp_ext.rearrange.out(features, order, out=out)
    mark_written(out)
    return out


def apply_rope(
    q: torch.Tensor | None,
    k: torch.Tensor | None,
    positions: torch.Tensor,
    rope: Rope,
    order: torch.Tensor | None = None,
    *,
    out: tuple[torch.Tensor | None, torch.Tensor | None] | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
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
        _rope_out(where, (q, k), length, out)
    sections = None if rope.sections is None else list(rope.sections)
    args = (
        positions, rope.inv_freq.contiguous(), rope.attention_scaling, sections,
        rope.interleaved_sections, order,
    )  # fmt: skip
    op = torch.ops.intp_ext.apply_rope
    if q is not None and k is not None:
        if out is None:
            return op(q, k, *args)
        op.out(q, k, *args, out_q=out[0], out_k=out[1])
        mark_written(*out)
        return out
    if out is None:
        turned = op.single(x, *args)
        return (None, turned) if q is None else (turned, None)
    op.single_out(x, *args, out=out[1] if q is None else out[0])
    mark_written(*out)
    return out


def _rope_out(
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


def validate(order: torch.Tensor, rows: int | None = None) -> None:
    """The full check of ``order`` on any device; on a GPU it waits for the device.

    CPU operators check by themselves. CUDA operators cannot without waiting: they write zeros for a
    row that is out of range.

    Args:
        order: int32 or int64 ``[S]`` or ``[B, S]``.
        rows: every entry must lie in ``0 <= row < rows`` (:func:`rearrange`, :func:`apply_rope`).
            None: every row must be a permutation of ``0 .. S - 1`` (:func:`attention`).

    Raises:
        TypeError: wrong type or dtype.
        ValueError: the first entry out of range, or no permutation.
    """
    where = "validate"
    order = _checks.tensor(where, "order", order, _checks.INDICES)
    if order.dim() not in (1, 2):
        raise ValueError(f"{where}: order: expected [S] or [B, S], got {list(order.shape)}")
    bound = order.shape[-1] if rows is None else _checks.count(where, "rows", rows)
    outside = ((order < 0) | (order >= bound)).nonzero()
    if outside.numel():
        at = tuple(outside[0].tolist())
        raise ValueError(
            f"{where}: order{list(at)}: expected 0 <= row < {bound}, got {order[at].item()}"
        )
    if rows is not None or order.numel() == 0:
        return
    ordered = order.sort(dim=-1).values
    repeated = (ordered[..., 1:] == ordered[..., :-1]).nonzero()
    if repeated.numel():
        row = ordered[..., 1:][tuple(repeated[0].tolist())].item()
        raise ValueError(
            f"{where}: order: expected a permutation of 0..{bound - 1}, got {row} twice"
        )
