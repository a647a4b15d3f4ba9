"""A task that no single frame can answer: which way, which faster, which first.

Two shapes, each of its own color, stand on a frame whose edges are joined: what leaves on the right
comes back on the left. Each moves once, straight, and the moves overlap in time. Where a shape
stands is uniform at every moment, so that one frame says nothing of how it moves. ``worlds.py``
says what happens, ``drawing.py`` renders it, ``questions.py`` asks, ``videos.py`` writes files.

Frozen, as the shapes task is and for the same reason (``tests/lab/test_motion.py`` holds digests).
"""

from .drawing import draw_moves
from .questions import GUESS_RATE, KINDS, questions_of
from .videos import HELD_OUT_SEEDS, held_out_moves, write_questions
from .worlds import DIRECTIONS, Moves, sample_moves

__all__ = [
    "DIRECTIONS",
    "GUESS_RATE",
    "HELD_OUT_SEEDS",
    "KINDS",
    "Moves",
    "draw_moves",
    "held_out_moves",
    "questions_of",
    "sample_moves",
    "write_questions",
]
