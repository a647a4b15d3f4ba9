"""Questions about a world, their answers, and how often somebody who saw too little is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .worlds import COLORS, MAX_EVENTS, SHAPES, Worlds

KINDS = ("needle", "order", "count", "existence")
_COLOR_NAMES = tuple(COLORS)
_NUMBERS = tuple(str(number) for number in range(1, MAX_EVENTS + 1))

GUESS_RATE = {
    "needle": 1 / len(COLORS),
    "order": 1 / len(SHAPES),
    "count": 1 / MAX_EVENTS,
    "existence": 1 / 2,
}
"""How often a guess that knows nothing of the video is right: one over the number of answers, for
worlds of 1 to 4 events. Every answer of a kind is as likely as the others."""


@dataclass(frozen=True)
class Question:
    """One question, its answer and the answers it could have.

    Attributes:
        kind: one of ``KINDS``.
        text, answer: in words.
        options: every answer of this kind.
        slot: the event that is asked about (needle, existence), else None.
    """

    kind: str
    text: str
    answer: str
    options: tuple[str, ...]
    slot: int | None = None


def questions_of(worlds: Worlds, world: int, rng: np.random.Generator) -> list[Question]:
    """Two questions of each kind that can be asked: needle, order (first, last), existence (a
    shape that was there and one that was not), and one count."""
    number = int(worlds.count[world])
    shape, color = worlds.shape[world], worlds.color[world]
    present = rng.permutation(number).tolist()
    absent = sorted(set(range(len(SHAPES))) - set(shape[:number].tolist()))
    asked = [
        Question("count", "how many shapes were there?", str(number), _NUMBERS),
        _existence(int(rng.choice(absent)), None),
    ]
    if number:
        asked.append(_existence(int(shape[present[0]]), present[0]))
    asked += [_needle(shape, color, slot) for slot in present[:2]]
    if number > 1:
        slots = worlds.order(world)
        asked += [_order("first", shape, slots[0]), _order("last", shape, slots[-1])]
    return asked


def all_questions(worlds: Worlds, world: int) -> list[Question]:
    """Every question that can be asked about a world, in no order that matters: for training."""
    number, shape, color = int(worlds.count[world]), worlds.shape[world], worlds.color[world]
    slots = worlds.order(world)
    slot_of = {int(shape[slot]): slot for slot in slots}
    asked = [Question("count", "how many shapes were there?", str(number), _NUMBERS)]
    asked += [_existence(kind, slot_of.get(kind)) for kind in range(len(SHAPES))]
    asked += [_needle(shape, color, slot) for slot in slots]
    if number > 1:
        asked += [_order("first", shape, slots[0]), _order("last", shape, slots[-1])]
    return asked


def _needle(shape: np.ndarray, color: np.ndarray, slot: int) -> Question:
    text = f"what color was the {SHAPES[shape[slot]]}?"
    return Question("needle", text, _COLOR_NAMES[color[slot]], _COLOR_NAMES, slot)


def _order(word: str, shape: np.ndarray, slot: int) -> Question:
    return Question("order", f"which shape came {word}?", SHAPES[shape[slot]], SHAPES)


def _existence(shape: int, slot: int | None) -> Question:
    answer = "no" if slot is None else "yes"
    return Question("existence", f"was there a {SHAPES[shape]}?", answer, ("yes", "no"), slot)


def observer_accuracy(worlds: Worlds, world: int, question: Question, times: np.ndarray) -> float:
    """How often an observer with perfect eyes who sees only the frames at ``times`` is right.

    The observer takes what it saw for everything there was, and guesses evenly among all answers
    where that says nothing: the color of a shape it did not see, the order of none, a count of 0.
    """
    seen = worlds.visible(times)[world].any(axis=0)  # [4]
    if question.kind == "needle":
        return 1.0 if seen[question.slot] else GUESS_RATE["needle"]
    if question.kind == "existence":
        return 1.0 if question.slot is None else float(seen[question.slot])
    if not seen.any():
        return GUESS_RATE[question.kind]
    if question.kind == "count":
        return float(seen.sum() == worlds.count[world])
    slots = [slot for slot in worlds.order(world) if seen[slot]]
    slot = slots[0] if "first" in question.text else slots[-1]
    return float(SHAPES[worlds.shape[world, slot]] == question.answer)
