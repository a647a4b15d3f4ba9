"""Training batches: many questions about one short clip in one sequence.

    <s> user: [video 8 * P]  what color was the bar assistant: red </s>  how many ... : 2 </s>

A question sees the video and itself, and stands at the positions it would have alone. So every
clip is encoded once for all its questions, and no token stands further out than a prompt of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..model_directory import BOS, CLIP_MEAN, CLIP_STD, EOS, FRAMES, PAD, VIDEO
from ..shapes import KINDS, SHAPES, Worlds, draw, sample_worlds
from ..shapes.questions import all_questions
from ..shapes.videos import training_rng
from .recipe import IMAGE_SIZE, TOKEN_OF, TOKENS_PER_FRAME, token_ids

NOTHING = len(SHAPES)  # the class of a frame without a shape

_PREFIX = [BOS, TOKEN_OF["user:"], *[VIDEO] * (FRAMES * TOKENS_PER_FRAME)]
_ASSISTANT = TOKEN_OF["assistant:"]
_NOISE = 6.0  # of 255: what a video file does to small frames
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


@dataclass(frozen=True)
class Batch:
    """Packed questions: ``input_ids``, ``position_ids`` ``[B, S]``, ``attention_mask`` bool
    ``[B, 1, S, S]``; row, place, token and kind of everything that is learnt, each ``[n]``. Of
    every answer the first token is the answer (``kind >= 0``), then comes ``</s>``."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor
    row: torch.Tensor
    place: torch.Tensor
    token: torch.Tensor
    kind: torch.Tensor


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
    frames = torch.from_numpy(draw(worlds, _TIMES, IMAGE_SIZE))
    frames += torch.from_numpy(rng.standard_normal(frames.shape, dtype=np.float32)) * _NOISE
    pixels = (frames.clamp_(0, 255) / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    visible = worlds.visible(_TIMES)  # [B, 8, 4], at most one
    slot, empty = visible.argmax(axis=2), ~visible.any(axis=2)
    labels = []
    for what in (worlds.shape, worlds.color):
        label = np.take_along_axis(what, slot, axis=1)
        label[empty] = NOTHING
        labels.append(torch.from_numpy(label))
    return Clips(worlds, pixels.permute(0, 1, 4, 2, 3).contiguous(), *labels)


def pack_questions(clips: Clips) -> Batch:
    """All questions that can be asked about every clip."""
    rows, learnt = [], []
    for world in range(len(clips.worlds)):
        ids, positions, segments = list(_PREFIX), list(range(len(_PREFIX))), [0] * len(_PREFIX)
        for number, question in enumerate(all_questions(clips.worlds, world), start=1):
            asked = [*token_ids(question.text), _ASSISTANT, *token_ids(question.answer)]
            at = len(ids) + len(asked) - 2  # of "assistant:", which says the answer
            learnt.append((world, at, asked[-1], KINDS.index(question.kind)))
            learnt.append((world, at + 1, EOS, -1))
            positions += range(len(_PREFIX), len(_PREFIX) + len(asked))
            segments += [number] * len(asked)
            ids += asked
        rows.append((ids, positions, segments))
    length = max(len(ids) for ids, _, _ in rows)
    pad = {"ids": PAD, "positions": 0, "segments": -1}
    padded_ids, padded_positions, segment = (
        torch.tensor([row[i] + [value] * (length - len(row[i])) for row in rows])
        for i, value in enumerate(pad.values())
    )
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    own = segment[:, :, None] == segment[:, None, :]
    video = (segment == 0)[:, None, :]
    mask = (causal & (own | video))[:, None]
    row, place, token, kind = torch.tensor(learnt).T
    return Batch(padded_ids, padded_positions, mask, row, place, token, kind)
