"""Questions about moves, and their answers."""

from __future__ import annotations

import numpy as np

from ..shapes import COLORS
from ..shapes.questions import Question
from .worlds import DIRECTIONS, Moves

KINDS = ("direction", "speed", "order")

GUESS_RATE = {"direction": 1 / 4, "speed": 1 / 2, "order": 1 / 2}
"""How often somebody is right who sees one frame perfectly: it shows the two colors and no more."""

_COLOR_NAMES = tuple(COLORS)
_DIRECTION_NAMES = tuple(DIRECTIONS)
_FASTEST = {"faster": np.argmax, "slower": np.argmin}
_FIRST = {"first": np.argmin, "last": np.argmax}


def all_questions(worlds: Moves, world: int) -> list[Question]:
    """Every question that can be asked about a world: for training.

    The direction of each shape that moves; which moved faster, slower, first and last if both do.
    """
    moving = np.flatnonzero(worlds.distance[world]).tolist()
    asked = [_direction(worlds, world, slot) for slot in moving]
    if len(moving) == 2:
        asked += [_speed(worlds, world, word) for word in _FASTEST]
        asked += [_order(worlds, world, word) for word in _FIRST]
    return asked


def questions_of(worlds: Moves, world: int, rng: np.random.Generator) -> list[Question]:
    """Four: both directions, faster or slower, first or last. For worlds where nothing rests."""
    return [
        *(_direction(worlds, world, slot) for slot in range(2)),
        _speed(worlds, world, str(rng.choice(list(_FASTEST)))),
        _order(worlds, world, str(rng.choice(list(_FIRST)))),
    ]


def _direction(worlds: Moves, world: int, slot: int) -> Question:
    text = f"which way did the {_COLOR_NAMES[worlds.color[world, slot]]} shape move?"
    answer = _DIRECTION_NAMES[worlds.direction[world, slot]]
    return Question("direction", text, answer, _DIRECTION_NAMES, slot)


def _speed(worlds: Moves, world: int, word: str) -> Question:
    return _which("speed", word, worlds, world, _FASTEST[word](worlds.distance[world]))


def _order(worlds: Moves, world: int, word: str) -> Question:
    return _which("order", word, worlds, world, _FIRST[word](worlds.start[world]))


def _which(kind: str, word: str, worlds: Moves, world: int, slot: np.intp) -> Question:
    colors = worlds.color[world]
    options = tuple(_COLOR_NAMES[color] for color in sorted(colors))
    return Question(kind, f"which color moved {word}?", _COLOR_NAMES[colors[slot]], options)
