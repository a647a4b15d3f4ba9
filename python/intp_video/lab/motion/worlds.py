"""What happens in the videos of the motion task."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ..shapes import COLORS, SHAPES

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

_SLOW = (0.25, 0.35)  # sides of the frame in one move
_TIMES_FASTER = (1.8, 2.2)
_LEAST_GAP = 1 / 3  # of a move, between the starts of both


@dataclass(frozen=True)
class Moves:
    """W worlds of two shapes. Times and lengths are fractions: of the video, of its frames' side.

    Attributes:
        color, shape, direction: int64 ``[W, 2]``, indices into ``COLORS``, ``SHAPES`` and
            ``DIRECTIONS``; the two of a world differ in color and shape.
        start: float64 ``[W, 2]``, when each begins to move.
        length: float64 ``[W]``, how long both move.
        distance: float64 ``[W, 2]``, how far; 0 for a shape that rests.
        place: float64 ``[W, 2, 2]``, centre (x, y) before the move.
        radius: float64 ``[W, 2]``.
        background: float64 ``[W, 3]``, RGB in 0..255.
    """

    color: np.ndarray
    shape: np.ndarray
    direction: np.ndarray
    start: np.ndarray
    length: np.ndarray
    distance: np.ndarray
    place: np.ndarray
    radius: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, rows: slice) -> Moves:
        return Moves(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def progress(self, times: np.ndarray) -> np.ndarray:
        """float64 ``[W, T, 2]``: how much of its move each shape has made, 0 to 1."""
        since = np.asarray(times)[None, :, None] - self.start[:, None]
        return np.clip(since / self.length[:, None, None], 0, 1)

    def centres(self, times: np.ndarray) -> np.ndarray:
        """float64 ``[W, T, 2, 2]``: (x, y) of each shape at ``times`` ``[T]``, in 0..1."""
        step = np.array(list(DIRECTIONS.values()))[self.direction]  # [W, 2, 2]
        gone = self.progress(times) * self.distance[:, None]
        return (self.place[:, None] + gone[..., None] * step[:, None]) % 1


def sample_moves(
    rng: np.random.Generator, number: int, *, shortest: float, longest: float, resting: float = 0.0
) -> Moves:
    """Worlds whose moves last ``shortest`` to ``longest`` of the video and overlap.

    Args:
        rng: where all chance comes from.
        number: W.
        shortest, longest: of a move, uniform between them.
        resting: chance that one of the two shapes does not move.

    Raises:
        ValueError: lengths that are not ``0 < shortest <= longest <= 3/4``, or no chance.
    """
    if not 0 < shortest <= longest <= 0.75:
        raise ValueError(
            f"sample_moves: expected 0 < shortest <= longest <= 3/4, got {shortest} and {longest}"
        )
    if not 0 <= resting <= 1:
        raise ValueError(f"sample_moves: resting: expected 0 to 1, got {resting}")
    pair = (number, 2)
    color, shape = (
        rng.permuted(np.tile(np.arange(len(names)), (number, 1)), axis=1)[:, :2]
        for names in (COLORS, SHAPES)
    )
    length = rng.uniform(shortest, longest, number)
    gap = rng.uniform(_LEAST_GAP * length, np.minimum(length, 1 - length))
    begin = rng.uniform(0, 1 - length - gap)
    slow = rng.uniform(*_SLOW, number)
    fast = slow * rng.uniform(*_TIMES_FASTER, number)
    distance = rng.permuted(np.stack((slow, fast), axis=1), axis=1)
    rests = rng.permuted(np.tile([True, False], (number, 1)), axis=1)
    distance[rests & (rng.uniform(size=(number, 1)) < resting)] = 0
    return Moves(
        color=color,
        shape=shape,
        direction=rng.integers(len(DIRECTIONS), size=pair),
        start=rng.permuted(np.stack((begin, begin + gap), axis=1), axis=1),
        length=length,
        distance=distance,
        place=rng.uniform(0, 1, (*pair, 2)),
        radius=rng.uniform(0.14, 0.18, pair),
        background=rng.uniform(8, 60, (number, 3)),
    )
