"""What a pass tells its attention layers, in place of a mask ``[B, 1, Q, K]`` (10 GB at 100k).

The carrier is ``[B, 1, 1, 32]`` bytes: 8 int32 for each row of the batch, made once for all layers
and read on the device. It has a dtype that arithmetic refuses, so a model that would add it to its
scores, as a mask, fails.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch

import intp_ext
from intp_ext.window import Q_OFFSET, RowIndex, pack_rows, sizes_of

DTYPE = torch.float8_e5m2

# The columns: those of the rows of intp_ext.Bounds, with the index after the last query in place
# of the first one's, since some models go on with their last rows alone; then the sizes.
Q_END = Q_OFFSET
ROWS, COLUMNS = 5, 8
CAUSAL = 0  # the size of no window

# What bounds have beside their rows: size, block, sink and first_key.
Limits = tuple[int | None, int, int, torch.Tensor | None]


def limits_of(window: intp_ext.Window | None) -> Limits:
    return (*sizes_of(window), None if window is None else window.first_key)


def make_carrier(
    window: intp_ext.Window | None,
    lo: RowIndex,
    hi: RowIndex,
    q_end: RowIndex,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """The carrier of queries that end before key ``q_end`` and see keys ``lo <= j < hi`` within the
    window; ints, or tensors ``[]`` or ``[B]``."""
    size, block, sink = sizes_of(window)
    rows = pack_rows(window, lo, hi, q_end, batch, device)  # [B, 5]
    tail = rows.new_tensor([size or CAUSAL, block, sink]).expand(batch, -1)
    carrier = torch.cat((rows, tail), dim=1).view(DTYPE)[:, None, None]
    carrier.intp_limits = limits_of(window)  # type: ignore[attr-defined]
    return carrier


def is_carrier(mask: torch.Tensor | None) -> TypeGuard[torch.Tensor]:
    return mask is not None and mask.dtype == DTYPE


def bounds_of(carrier: torch.Tensor, queries: int, limits: Limits | None = None) -> intp_ext.Bounds:
    """The bounds of the last ``queries`` queries, made once for all layers.

    Args:
        carrier: as :func:`make_carrier` made it, or moved to the device of a later layer.
        queries: Sq of the layer.
        limits: of the window, on the device of the layer, where they are known. A carrier that was
            moved is read for its sizes otherwise, which waits for its device.
    """
    made: Any = getattr(carrier, "intp_bounds", None)
    if made is not None and made[0] == queries:
        return made[1]
    columns = carrier.view(torch.int32)[:, 0, 0]  # [B, 8]
    rows = columns[:, :ROWS].clone()
    rows[:, Q_END] -= queries
    bounds = intp_ext.Bounds(rows, *(limits or _limits_in(carrier, columns)))
    if not torch.compiler.is_compiling():
        carrier.intp_bounds = queries, bounds  # type: ignore[attr-defined]
    return bounds


def _limits_in(carrier: torch.Tensor, columns: torch.Tensor) -> Limits:
    known: Any = getattr(carrier, "intp_limits", None)
    if known is not None:
        return known
    size, block, sink = columns[0, ROWS:].tolist()
    return size or None, block, sink, None
