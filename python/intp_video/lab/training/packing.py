"""Many questions about one short clip in one sequence.

    <s> user: [video 8 * P]  what color was the bar assistant: red </s>  how many ... : 2 </s>

A question sees the video and itself, and stands at the positions it would have alone. So every
clip is encoded once for all its questions, and no token stands further out than a prompt of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..model_directory import BOS, EOS, FRAMES, PAD, VIDEO
from ..shapes import Question
from .vocabulary import Vocabulary


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

    def to(self, device: str) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


def pack(
    vocabulary: Vocabulary,
    tokens_per_frame: int,
    asked: Sequence[Sequence[Question]],
    kinds: Sequence[str],
) -> Batch:
    """All questions about every clip.

    Args:
        vocabulary: of the model.
        tokens_per_frame: P.
        asked: the questions about each of B clips, whose answers are one word.
        kinds: of questions; ``Batch.kind`` are indices into it.
    """
    prefix = [BOS, *vocabulary.ids("user:"), *[VIDEO] * (FRAMES * tokens_per_frame)]
    rows, learnt = [], []
    for row, questions in enumerate(asked):
        ids, positions, segments = list(prefix), list(range(len(prefix))), [0] * len(prefix)
        for number, question in enumerate(questions, start=1):
            said = vocabulary.ids(f"{question.text} assistant: {question.answer}")
            at = len(ids) + len(said) - 2  # of "assistant:", which says the answer
            learnt.append((row, at, said[-1], kinds.index(question.kind)))
            learnt.append((row, at + 1, EOS, -1))
            positions += range(len(prefix), len(prefix) + len(said))
            segments += [number] * len(said)
            ids += said
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
