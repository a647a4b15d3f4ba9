"""Training batches of the motion task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...model_directory import FRAMES
from ...motion import KINDS, Moves, draw_moves, sample_moves
from ...motion.questions import all_questions
from ...motion.videos import motion_training_rng
from ...motion.worlds import DIRECTIONS
from ...shapes import COLORS
from ..packing import Batch, pack
from ..pixels import noisy_pixels
from .recipe import IMAGE_SIZE, PATCH_SIZE, TOKENS_PER_FRAME, VOCABULARY

_TIMES = (np.arange(FRAMES) + 0.5) / FRAMES
_SHORTEST, _LONGEST = 3 / 8, 3 / 4  # of a move: 3 to 6 frames
_RESTING = 0.2
_FAST = 0.4  # sides in one move: between what is slow and what is fast

_PATCHES = IMAGE_SIZE // PATCH_SIZE  # in a row

LABELS = {
    "color": 1 + len(COLORS),
    "direction": 2 + len(DIRECTIONS),
    "speed": 4,
    "phase": 4,
    "order": 4,
}
"""What the tower learns to tell of the shape whose centre lies in a patch, and the number of
classes. 0 is always a patch without one; ``direction`` and ``speed`` (slow, fast) have 1 for rest;
``phase`` is before, in or after the move; ``order`` (first, last) has 1 where not both move.
"""


@dataclass(frozen=True)
class Clips:
    """``pixels`` float32 ``[B, 8, 3, H, W]``; ``labels``: int64 ``[B, 8, 9]`` by name, of every
    patch of every frame."""

    worlds: Moves
    pixels: torch.Tensor
    labels: dict[str, torch.Tensor]


def make_clips(seed: int, step: int, number: int) -> Clips:
    """Short clips whose moves last 3 to 6 of the 8 frames; in a fifth of them one shape rests."""
    rng = motion_training_rng(seed, step)
    worlds = sample_moves(rng, number, shortest=_SHORTEST, longest=_LONGEST, resting=_RESTING)
    pixels = noisy_pixels(draw_moves(worlds, _TIMES, IMAGE_SIZE), rng)
    return Clips(worlds, pixels, _labels(worlds))


def _labels(worlds: Moves) -> dict[str, torch.Tensor]:
    moves = worlds.distance > 0
    progress = worlds.progress(_TIMES)  # [B, 8, 2]
    last = worlds.start > worlds.start[:, ::-1]
    of_slot = {
        "color": 1 + worlds.color[:, None],
        "direction": np.where(moves, 2 + worlds.direction, 1)[:, None],
        "speed": np.where(moves, 2 + (worlds.distance > _FAST), 1)[:, None],
        "phase": 1 + (progress > 0) + (progress == 1),
        "order": np.where(moves.all(axis=1, keepdims=True), 2 + last, 1)[:, None],
    }
    column, line = np.moveaxis((worlds.centres(_TIMES) * _PATCHES).astype(np.int64), -1, 0)
    patch = line * _PATCHES + column  # [B, 8, 2]
    row, frame = np.ogrid[: len(worlds), :FRAMES]
    labels = {}
    for name, value in of_slot.items():
        label = np.zeros((len(worlds), FRAMES, _PATCHES**2), dtype=np.int64)
        for slot in range(2):  # the second is in front
            label[row, frame, patch[..., slot]] = value[..., slot]
        labels[name] = torch.from_numpy(label)
    return labels


def pack_questions(clips: Clips) -> Batch:
    """All questions that can be asked about every clip."""
    asked = [all_questions(clips.worlds, world) for world in range(len(clips.worlds))]
    return pack(VOCABULARY, TOKENS_PER_FRAME, asked, KINDS)
