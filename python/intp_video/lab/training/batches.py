"""Training batches of the shapes task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..model_directory import FRAMES
from ..shapes import KINDS, SHAPES, Worlds, draw, sample_worlds
from ..shapes.questions import all_questions
from ..shapes.videos import training_rng
from .packing import Batch, pack
from .pixels import noisy_pixels
from .recipe import IMAGE_SIZE, TOKENS_PER_FRAME, VOCABULARY

NOTHING = len(SHAPES)  # the class of a frame without a shape

_COUNTS = (0.04, 0.24, 0.24, 0.24, 0.24)  # chances of 0 to 4 events
_LONGEST = (0.25, 0.8, 0.42, 0.31, 0.25)  # of one event, where there are so many
_TIMES = (np.arange(FRAMES) + 0.5) / FRAMES


@dataclass(frozen=True)
class Clips:
    """``pixels`` float32 ``[B, 8, 3, H, W]``; ``shape`` and ``color`` int64 ``[B, 8]``, what is on
    each frame, ``NOTHING`` where there is nothing."""

    worlds: Worlds
    pixels: torch.Tensor
    shape: torch.Tensor
    color: torch.Tensor


def make_clips(seed: int, step: int, number: int) -> Clips:
    """Short clips of 0 to 4 events, of 1/8 of the clip at least, so that a frame sees each.

    The fewer the events, the longer they may last: how many frames show a shape must not tell how
    many shapes there were.
    """
    rng = training_rng(seed, step)
    counts = np.bincount(rng.choice(5, number, p=_COUNTS), minlength=5)
    worlds = Worlds.concatenate(
        [
            sample_worlds(rng, n, shortest=1 / 8, longest=_LONGEST[count], counts=(count,))
            for count, n in enumerate(counts.tolist())
            if n
        ]
    )
    pixels = noisy_pixels(draw(worlds, _TIMES, IMAGE_SIZE), rng)
    visible = worlds.visible(_TIMES)  # [B, 8, 4], at most one
    slot, empty = visible.argmax(axis=2), ~visible.any(axis=2)
    labels = []
    for what in (worlds.shape, worlds.color):
        label = np.take_along_axis(what, slot, axis=1)
        label[empty] = NOTHING
        labels.append(torch.from_numpy(label))
    return Clips(worlds, pixels, *labels)


def pack_questions(clips: Clips) -> Batch:
    """All questions that can be asked about every clip."""
    asked = [all_questions(clips.worlds, world) for world in range(len(clips.worlds))]
    return pack(VOCABULARY, TOKENS_PER_FRAME, asked, KINDS)
