"""``token_order`` and the full check of an order."""

from __future__ import annotations

import torch

from .. import _checks
from .._ops import add_op_namespace_prefix, ops
from ..reference import GROUPINGS


def token_order(
    groups: int,
    frames_per_group: int,
    tokens_per_frame: int,
    grouping: str = "interleaved",
    *,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """The storage row of the token at each time position, for frames encoded in groups.

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
        TypeError: a count that is not an int.
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
    ops.token_order(*counts, grouping == "interleaved", out=order)
    return order


def validate(order: torch.Tensor, rows: int | None = None) -> None:
    """The full check of ``order`` on any device; on a GPU it waits for the device.

    CPU operators check on their own. CUDA operators could only do so by waiting, so they write
    zeros for a row that is out of range.

    Args:
        order: int32 or int64 ``[S]`` or ``[B, S]``.
        rows: every entry must lie in ``0 <= row < rows`` (:func:`rearrange`, :func:`apply_rope`).
            None: every row must be a permutation of ``0 .. S - 1`` (:func:`attention`).

    Raises:
        TypeError: wrong type or dtype.
        ValueError: an entry is out of range (the first is named), or a row is not a permutation.
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


def check_permutation(where: str, order: torch.Tensor) -> None:
    """Raise ValueError unless every row of ``order`` holds each of 0..S-1 once (waits for the
    device)."""
    ordered = order.long().sort(dim=-1).values
    if not torch.equal(
        ordered, torch.arange(order.shape[-1], device=order.device).expand_as(ordered)
    ):
        raise ValueError(f"{where}: order: expected a permutation of 0..{order.shape[-1] - 1}")


@torch.library.register_fake(add_op_namespace_prefix("token_order"))
def _fake(*args: object, out: torch.Tensor) -> None:
    return None
