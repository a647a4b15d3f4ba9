"""Worlds to pixels, at any time and any size, with soft edges and without an image library."""

from __future__ import annotations

import numpy as np

from .worlds import COLORS, SHAPES, Worlds

_PALETTE = np.array(list(COLORS.values()), dtype=np.float32)
_GREY = np.float32(112)


def draw(worlds: Worlds, times: np.ndarray, size: int) -> np.ndarray:
    """Frames of every world at the same times.

    Args:
        worlds: W of them.
        times: ``[T]``, fractions of the video.
        size: side of a frame in pixels.

    Returns:
        float32 ``[W, T, size, size, 3]`` RGB, 0..255.
    """
    times = np.asarray(times, dtype=np.float64)
    pixel = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = pixel[None, :], pixel[:, None]
    frames = np.empty((len(worlds), len(times), size, size, 3), dtype=np.float32)
    frames[:] = worlds.background.astype(np.float32)[:, None, None, None]

    for wander in worlds.wander.swapaxes(0, 1):  # [W, 5]
        phase = wander[:, None, :2] + wander[:, None, 2:4] * times[:, None]  # [W, T, 2]
        centre = (0.5 + 0.42 * np.sin(2 * np.pi * phase)).astype(np.float32)
        half = wander[:, 4].astype(np.float32)[:, None, None]
        across = covered(np.abs(x[0] - centre[..., :1]) - half, size)  # [W, T, size]
        down = covered(np.abs(y[:, 0] - centre[..., 1:]) - half, size)
        blend(frames, down[..., :, None] * across[..., None, :], _GREY)

    world, frame, slot = worlds.visible(times).nonzero()  # one row for each shape on a frame
    start, length = worlds.start[world, slot], worlds.length[world, slot]
    progress = ((times[frame] - start) / length)[:, None]
    path = worlds.path[world, slot]
    centre = (path[:, 0] + (path[:, 1] - path[:, 0]) * progress).astype(np.float32)
    radius = worlds.radius[world, slot].astype(np.float32)[:, None, None]
    u = (x - centre[:, 0, None, None]) / radius  # [n, 1, size]
    v = (y - centre[:, 1, None, None]) / radius
    kind, color = worlds.shape[world, slot], worlds.color[world, slot]
    for shape, name in enumerate(SHAPES):
        rows = kind == shape
        if rows.any():
            cover = covered(distance(name, u[rows], v[rows]) * radius[rows], size)
            picture = frames[world[rows], frame[rows]]
            blend(picture, cover, _PALETTE[color[rows]][:, None, None])
            frames[world[rows], frame[rows]] = picture
    return frames


def blend(picture: np.ndarray, cover: np.ndarray, color: np.ndarray | np.float32) -> None:
    picture += cover[..., None] * (color - picture)


def covered(distance: np.ndarray, size: int) -> np.ndarray:
    """How much of a pixel lies inside an edge at this signed distance (in sides of the frame)."""
    return np.clip(0.5 - distance * size, 0, 1)


def distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to the edge (negative inside), in radii; ``u`` to the right, ``v`` down."""
    au, av = np.abs(u), np.abs(v)
    if shape == "circle":
        return np.hypot(u, v) - 1
    if shape == "square":
        return np.maximum(au, av) - 0.9
    if shape == "triangle":  # apex (0, -1), base at 0.8; the sides fall by 1.8 over 1
        return np.maximum(v - 0.8, (1.8 * au - v - 1) / np.float32(np.hypot(1.8, 1)))
    if shape == "cross":
        return np.minimum(np.maximum(au - 1, av - 0.32), np.maximum(au - 0.32, av - 1))
    if shape == "ring":
        return np.abs(np.hypot(u, v) - 0.74) - 0.26
    return np.maximum(au - 1, av - 0.4)  # bar
