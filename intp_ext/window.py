"""The visibility window of :func:`intp_ext.attention`, as its caller writes it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

RowIndex = int | torch.Tensor


@dataclass(frozen=True)
class Window:
    """Which earlier keys a query sees, besides the causal rule.

    Query i sees key j <= i when one of these holds, where lo is the first key of the row::

        blk(j) > blk(i) - size        blk(x) = floor((x - block_start) / block)
        j - lo < sink                 attention sink: the first tokens of the row
        i >= dense_from               dense rows: they see every key

    With ``block=1`` this is the usual sliding window, ``i - j < size`` (Mistral, Longformer); with
    ``block = tokens_per_frame`` and ``block_start`` at the first visual token it counts whole
    frames. The sink is that of StreamingLLM (Xiao et al., arXiv 2309.17453).

    Args:
        size: blocks a query sees, its own included; at least 1.
        block: tokens in one block; at least 1.
        block_start: absolute key index at which a block begins; an int, or int32 ``[B]`` where rows
            differ (left padding).
        sink: tokens at the start of the row that every query sees; at least 0.
        dense_from: absolute index of the first dense query; an int, int32 ``[B]``, or None for
            none.

    Raises:
        TypeError: an argument is not an int (or, where allowed, not an int32 tensor).
        ValueError: an argument is out of range, or a tensor is not 1-D.
    """

    size: int
    block: int = 1
    block_start: RowIndex = 0
    sink: int = 0
    dense_from: RowIndex | None = None

    def __post_init__(self) -> None:
        for name, least in (("size", 1), ("block", 1), ("sink", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"Window: {name}: expected an int, got {type(value).__name__}")
            if value < least:
                raise ValueError(f"Window: {name}: expected at least {least}, got {value}")
            if value >= 2**63:
                raise ValueError(f"Window: {name}: expected less than 2^63, got {value}")
        for name in ("block_start", "dense_from"):
            value = getattr(self, name)
            if isinstance(value, torch.Tensor):
                if value.dtype != torch.int32:
                    raise TypeError(
                        f"Window: {name}: expected an int or int32 [B], got {value.dtype}"
                    )
                if value.dim() != 1:
                    raise ValueError(f"Window: {name}: expected shape [B], got {list(value.shape)}")
            elif value is None and name == "dense_from":
                continue
            elif isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(
                    f"Window: {name}: expected an int or int32 [B], got {type(value).__name__}"
                )
