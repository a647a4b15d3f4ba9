"""A task that short clips can teach and only long videos can test.

Colored shapes appear for a while, one at a time, among gray things that move; questions ask for
the color of one, the first or the last, how many, and whether there was one. ``worlds.py`` draws
what happens, ``drawing.py`` renders it, ``questions.py`` asks, ``videos.py`` writes files.

Frozen: accuracy is only comparable over the same worlds and questions, so
nothing here that changes one of them may change (``tests/lab/test_shapes.py`` holds digests).
"""

from .drawing import draw
from .questions import GUESS_RATE, KINDS, Question, observer_accuracy, questions_of
from .videos import HELD_OUT_SEEDS, held_out_world, write_world
from .worlds import COLORS, SHAPES, Worlds, sample_worlds

__all__ = [
    "COLORS",
    "GUESS_RATE",
    "HELD_OUT_SEEDS",
    "KINDS",
    "SHAPES",
    "Question",
    "Worlds",
    "draw",
    "held_out_world",
    "observer_accuracy",
    "questions_of",
    "sample_worlds",
    "write_world",
]
