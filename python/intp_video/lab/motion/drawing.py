"""Moves to pixels, on a frame whose opposite edges are joined."""

from __future__ import annotations

import numpy as np

from ..shapes import COLORS, SHAPES
from ..shapes.drawing import blend, covered, distance
from .worlds import Moves

_PALETTE = np.array(list(COLORS.values()), dtype=np.float32)


def draw_moves(worlds: Moves, times: np.ndarray, size: int) -> np.ndarray:
    """Frames of every world at the same times; where shapes meet, the second is in front.

    Args:
        worlds: W of them.
        times: ``[T]``, fractions of the video.
        size: side of a frame in pixels.

    Returns:
        float32 ``[W, T, size, size, 3]`` RGB, 0..255.
    """
    pixel = ((np.arange(size) + 0.5) / size).astype(np.float32)
    frames = np.empty((len(worlds), len(times), size, size, 3), dtype=np.float32)
    frames[:] = worlds.background.astype(np.float32)[:, None, None, None]
    centres = worlds.centres(times).astype(np.float32)
    for slot in range(2):
        # the nearer way round, in -1/2..1/2
        away = (pixel - centres[:, :, slot, :, None] + 0.5) % 1 - 0.5  # [W, T, 2, size]
        for shape, name in enumerate(SHAPES):
            rows = worlds.shape[:, slot] == shape
            radius = worlds.radius[rows, slot].astype(np.float32)[:, None, None, None]
            u, v = away[rows, :, 0, None] / radius, away[rows, :, 1, :, None] / radius
            picture = frames[rows]
            color = _PALETTE[worlds.color[rows, slot]][:, None, None, None]
            blend(picture, covered(distance(name, u, v) * radius, size), color)
            frames[rows] = picture
    return frames
