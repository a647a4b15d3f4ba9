"""What the hook remembers of one token sequence for as long as its cache lives."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import intp_ext

from ..errors import ModelError


@dataclass(frozen=True)
class VisualSpan:
    """Where the video stands in each row of the batch.

    Attributes:
        start: int32 ``[B]``, key index of the first visual token (0 for a row without a video).
        length: int32 ``[B]``, visual tokens so far.
        start_position: float32 ``[B]``, RoPE position of the first visual token.
    """

    start: torch.Tensor
    length: torch.Tensor
    start_position: torch.Tensor

    @property
    def end(self) -> torch.Tensor:
        """int32 ``[B]``: key index after the last visual token."""
        return self.start + self.length

    def index(self, rows: torch.Tensor) -> VisualSpan:
        rows = rows.to(self.start.device)
        return VisualSpan(self.start[rows], self.length[rows], self.start_position[rows])

    def crop(self, length: int) -> VisualSpan:
        left = (length - self.start).clamp(min=0).minimum(self.length)
        start = torch.where(left > 0, self.start, 0)
        return VisualSpan(start, left, self.start_position)

    def to(self, device: torch.device) -> VisualSpan:
        return VisualSpan(
            self.start.to(device), self.length.to(device), self.start_position.to(device)
        )


def find_visual_span(
    is_visual: torch.Tensor,
    offset: int | torch.Tensor,
    positions: torch.Tensor,
    before: VisualSpan | None,
) -> VisualSpan:
    """The span after one more forward pass.

    Args:
        is_visual: bool ``[B, S]``: which of the new tokens stand for a video.
        offset: key index of the first new token.
        positions: ``[1 or B, S]`` RoPE positions of the new tokens.
        before: the span before this pass, if the sequence goes on.

    Raises:
        ModelError: the visual tokens of a row are not contiguous.
    """
    batch, rows = is_visual.shape
    count = is_visual.sum(-1, dtype=torch.int32)  # [B]
    first = is_visual.int().argmax(-1)  # [B], 0 where there is none
    index = torch.arange(rows, device=is_visual.device)
    together = (is_visual == ((index >= first[:, None]) & (index < (first + count)[:, None]))).all()
    start = torch.where(count > 0, first + offset, 0).int()
    start_position = positions.expand(batch, -1).gather(1, first[:, None])[:, 0].float()
    if before is not None:
        started, more = before.length > 0, count > 0
        together = together & (~(started & more) | (start == before.end)).all()
        start = torch.where(started, before.start, start)
        start_position = torch.where(started, before.start_position, start_position)
        count = count + before.length
    if not together:
        raise ModelError(
            "the visual tokens of a row do not stand together (several videos, or text between "
            "frames); "
            'a window, span="visual" and rearrange="attention" need one video per row'
        )
    return VisualSpan(start, count, start_position)


class Sequence:
    """One token sequence, for as long as its cache lives: its RoPE, and where its video stands.

    Set once, as keys that are rotated already never change theirs: ``rope``, ``factor`` (of
    ``span="visual"``, else None), ``reach`` (tokens whose positions are stretched into what was
    trained) and ``own_cache``. Grows, and follows what is done to the cache: ``visual``.
    """

    def __init__(self, rope: intp_ext.Rope, factor: float | None, reach: int) -> None:
        self.rope, self.factor, self.reach = rope, factor, reach
        self.visual: VisualSpan | None = None
        self.own_cache = True  # keys go through our cache layer (or there is no cache)
        self.has_video = False  # features were merged into it
        self.padded = False  # it was given a padding mask
        self.holes = False  # padding stands, or will stand, between kept keys
        self.decoding = False  # its last pass was one token, and its padding is known

    def state(self) -> tuple:
        """What a pass changes, for :meth:`set_state`."""
        return self.visual, self.has_video, self.padded, self.holes, self.decoding

    def set_state(self, state: tuple) -> None:
        self.visual, self.has_video, self.padded, self.holes, self.decoding = state

    def index(self, rows: torch.Tensor) -> None:
        """Row b becomes what row ``rows[b]`` was."""
        if self.visual is not None:
            self.visual = self.visual.index(rows)

    def crop(self, length: int) -> None:
        """Tokens from ``length`` on are gone."""
        if self.visual is not None:
            self.visual = self.visual.crop(length)

    def stretch(self, positions: torch.Tensor) -> torch.Tensor:
        """``[B, S]``, float32 if ``factor`` is given: the step is ``1/factor`` for visual tokens
        and 1 for text.

        ::

            p                                    before the video
            start + (p - start) / factor         inside
            p - length * (1 - 1/factor)          after
        """
        if self.factor is None:
            return positions
        if self.visual is None:
            return positions.float()
        into = positions - self.visual.start_position[:, None]
        inside = into.clamp(min=0).minimum(self.visual.length[:, None].float())
        return positions.float() - inside * (1 - 1 / self.factor)
