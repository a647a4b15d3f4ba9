"""What the hook remembers of one token sequence for as long as its cache lives."""

from __future__ import annotations

import torch

import intp_ext

from .visual import VideoTokens, VisualTokens


class Sequence:
    """One token sequence, for as long as its cache lives: its RoPE, and where its videos stand.

    Set once, as keys that are rotated already never change theirs: ``rope``, ``factor`` (of
    ``span="visual"``, else None), ``reach`` (positions that are stretched into what was trained)
    and ``own_cache``. Grows, and follows what is done to the cache: ``visual``.
    """

    def __init__(self, rope: intp_ext.Rope, factor: float | None, reach: int) -> None:
        self.rope, self.factor, self.reach = rope, factor, reach
        self.visual: VisualTokens | None = None
        self._chunked: list[VideoTokens] = []  # that the last chunk of a prompt was of
        self._before_chunks: torch.Tensor | None = None  # [B], visual tokens before their first one
        self.own_cache = True  # all keys go through our cache layers (or there is no cache)
        self.has_video = False  # features were merged into it
        self.padded = False  # it was given a padding mask
        self.holes = False  # padding stands, or will stand, between kept keys
        self.decoding = False  # its last pass was one token, and its padding is known

    def state(self) -> tuple:
        """What a pass changes, for :meth:`set_state`."""
        chunks = self._chunked, self._before_chunks
        return self.visual, chunks, self.has_video, self.padded, self.holes, self.decoding

    def set_state(self, state: tuple) -> None:
        self.visual, chunks, self.has_video, self.padded, self.holes, self.decoding = state
        self._chunked, self._before_chunks = chunks

    def index(self, rows: torch.Tensor) -> None:
        """Row b becomes what row ``rows[b]`` was."""
        if self.visual is not None:
            self.visual = self.visual.index(rows)

    def crop(self, length: int) -> None:
        """Tokens from ``length`` on are gone."""
        if self.visual is not None:
            self.visual = self.visual.crop(length)

    def tokens_done(self, videos: list[VideoTokens], batch: int) -> torch.Tensor:
        """int64 ``[B]``: visual tokens of these videos in earlier chunks of their prompt."""
        count = torch.zeros(batch, dtype=torch.long)
        if self.visual is not None:
            count = self.visual.count.long()
        if videos is not self._chunked or self._before_chunks is None:
            self._chunked, self._before_chunks = videos, count
        return count - self._before_chunks

    def stretch(self, positions: torch.Tensor, visual_before: torch.Tensor | None) -> torch.Tensor:
        """``[B, S]``, float32 if ``factor`` is given: a visual token is a step of ``1/factor``, any
        other token a step of 1.

        ::

            p - (1 - 1/factor) * (visual tokens before it)

        Args:
            positions: ``[1 or B, S]``.
            visual_before: ``[B, S]`` visual tokens before each of them; None where all of the
                sequence's stand before.
        """
        if self.factor is None:
            return positions
        if visual_before is None:
            if self.visual is None:
                return positions.float()
            visual_before = self.visual.count[:, None]
        return positions.float() - visual_before * (1 - 1 / self.factor)
