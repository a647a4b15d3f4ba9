"""What happens in the videos of the shapes task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

COLORS = {
    "red": (228, 48, 44),
    "green": (46, 176, 78),
    "blue": (58, 104, 240),
    "yellow": (250, 214, 48),
    "purple": (168, 76, 214),
    "white": (242, 242, 242),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring", "bar")

MAX_EVENTS = 4
DISTRACTORS = 2


@dataclass(frozen=True)
class Worlds:
    """W worlds. All times and lengths are fractions: of the video, of the side of its frames.

    Attributes:
        count: int64 ``[W]``, events in each; the first so many of the four slots are used.
        shape, color: int64 ``[W, 4]``, indices into ``SHAPES`` and ``COLORS``; no two events of a
            world share either.
        start, length: float64 ``[W, 4]``; on screen while ``start <= t < start + length``. Events
            do not overlap; their order in time is not that of the slots.
        path: float64 ``[W, 4, 2, 2]``, centre (x, y) at the start and at the end.
        radius: float64 ``[W, 4]``.
        background: float64 ``[W, 3]``, RGB in 0..255.
        wander: float64 ``[W, 2, 5]``, of each grey distractor: phase x, phase y, speed x, speed y
            (turns a video), half its side.
    """

    count: np.ndarray
    shape: np.ndarray
    color: np.ndarray
    start: np.ndarray
    length: np.ndarray
    path: np.ndarray
    radius: np.ndarray
    background: np.ndarray
    wander: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def concatenate(cls, parts: Sequence[Worlds]) -> Worlds:
        """All worlds of the parts, one after the other."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )

    def __getitem__(self, rows: slice) -> Worlds:
        return Worlds(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def visible(self, times: np.ndarray) -> np.ndarray:
        """bool ``[W, T, 4]``: which events are on screen at ``times`` ``[T]``."""
        t = np.asarray(times)[None, :, None]
        start, end = self.start[:, None], (self.start + self.length)[:, None]
        used = np.arange(MAX_EVENTS) < self.count[:, None, None]
        return used & (start <= t) & (t < end)

    def order(self, world: int) -> list[int]:
        """The slots of one world in the order in which they appear."""
        return np.argsort(self.start[world, : self.count[world]], kind="stable").tolist()


def sample_worlds(
    rng: np.random.Generator,
    number: int,
    *,
    shortest: float,
    longest: float,
    counts: tuple[int, ...] = (1, 2, 3, 4),
) -> Worlds:
    """Worlds whose events last ``shortest`` to ``longest`` of the video, at random phases.

    Args:
        rng: where all chance comes from.
        number: W.
        shortest, longest: of one event, uniform between them; as many of the longest must fit as
            there can be.
        counts: events in a world, each as likely as the others.

    Raises:
        ValueError: counts beyond 0..4, or lengths that are not ``0 < shortest <= longest`` and, for
            the most events, ``longest <= 1/4``.
    """
    if not counts or any(not 0 <= count <= MAX_EVENTS for count in counts):
        raise ValueError(f"sample_worlds: counts: expected numbers from 0 to 4, got {counts}")
    most = max(1, *counts)
    if not 0 < shortest <= longest <= 1 / most:
        raise ValueError(
            f"sample_worlds: expected 0 < shortest <= longest <= 1/{most}, "
            f"got {shortest} and {longest}"
        )
    slots = (number, MAX_EVENTS)
    count = rng.choice(np.asarray(counts, dtype=np.int64), number)
    shape = rng.permuted(np.tile(np.arange(len(SHAPES)), (number, 1)), axis=1)[:, :MAX_EVENTS]
    color = rng.permuted(np.tile(np.arange(len(COLORS)), (number, 1)), axis=1)[:, :MAX_EVENTS]
    length = rng.uniform(shortest, longest, slots)
    length[np.arange(MAX_EVENTS) >= count[:, None]] = 0
    # gaps as uniform as can be: sorted points in the time that no event takes, pushed apart
    free = 1 - length.sum(axis=1, keepdims=True)
    points = rng.uniform(0, 1, slots)
    points[np.arange(MAX_EVENTS) >= count[:, None]] = 2  # unused slots last
    rank = points.argsort(axis=1).argsort(axis=1)
    before = rank[:, None, :] < rank[:, :, None]  # [W, slot, slot that comes before it]
    start = points * free + (before * length[:, None, :]).sum(axis=2)
    start[np.arange(MAX_EVENTS) >= count[:, None]] = 0
    return Worlds(
        count=count,
        shape=shape,
        color=color,
        start=start,
        length=length,
        path=rng.uniform(0.34, 0.66, (*slots, 2, 2)),
        radius=rng.uniform(0.24, 0.33, slots),
        background=rng.uniform(8, 60, (number, 3)),
        wander=np.concatenate(
            (
                rng.uniform(0, 1, (number, DISTRACTORS, 2)),
                rng.uniform(0.5, 2, (number, DISTRACTORS, 2)),
                rng.uniform(0.04, 0.08, (number, DISTRACTORS, 1)),
            ),
            axis=2,
        ),
    )
