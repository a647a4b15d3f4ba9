"""Where the text after a video stands, in models whose positions have three axes (M-RoPE).

Since 5.3, stock Qwen2-VL and Qwen2.5-VL go on ``max(rows, columns)`` steps after the first position
of a video. A video of more steps of time than that reaches beyond: the question then stands before
the later frames. ``positions="after"`` lets text go on after the last visual position, as 4.57 did.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch


def text_after_the_video(
    get_rope_index: Callable[..., Any], placeholder: int
) -> Callable[..., Any]:
    """A model's own ``get_rope_index``, with text moved behind each video."""
    signature = inspect.signature(get_rope_index)

    @functools.wraps(get_rope_index)
    def moved(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        positions, deltas = get_rope_index(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        ids, mask = arguments["input_ids"], arguments.get("attention_mask")
        kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        positions, deltas = positions.clone(), deltas.clone()
        for row in range(len(ids)):
            before = positions[:, row, kept[row]]
            after = move_text(before, ids[row, kept[row]] == placeholder)
            positions[:, row, kept[row]] = after
            deltas.view(len(ids), -1)[row] += after.max() - before.max()
        return positions, deltas

    return moved


def move_text(positions: torch.Tensor, is_visual: torch.Tensor) -> torch.Tensor:
    """``[3, S]`` of one row: each text begins after the largest position before it.

    Args:
        positions: ``[3, S]``.
        is_visual: bool ``[S]``.
    """
    positions = positions.clone()
    ends = (is_visual[:-1] & ~is_visual[1:]).nonzero()[:, 0] + 1  # first text after a video
    for end in ends.tolist():
        late = int(positions[:, :end].max()) + 1 - int(positions[0, end])
        positions[:, end:] += max(0, late)
    return positions
