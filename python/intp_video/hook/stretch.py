"""How far positions are stretched, and the frequencies of a sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

import intp_ext

from .. import compat
from ..errors import ModelError
from ..options import Options


class Stretch:
    """The scaling factor of an extended decoder, and what follows from it.

    Args:
        options: rope, factor and span.
        trained_rope: the frequencies of the decoder as it was trained.
        rope_type: of its own rotary embedding.
        config: the decoder's config.
        visual_tokens: of the longest video.
        positions: of the longest video and the text set aside beside it.
        distance: of so many positions, how far apart two are at most that a layer with RoPE sees.

    Attributes:
        factor: s in use.
        trained: L0, the positions that the decoder was trained on.
    """

    def __init__(
        self,
        options: Options,
        trained_rope: intp_ext.Rope,
        rope_type: str,
        config: Any,
        visual_tokens: int,
        positions: int,
        distance: Callable[[int], int],
    ) -> None:
        self._kind, self._visual_only = options.rope, options.span == "visual"
        self._own, self._rope_type, self._config = trained_rope, rope_type, config
        self._visual_tokens, self._planned = visual_tokens, distance(positions)
        self._distance = distance
        self.trained: int = config.max_position_embeddings
        self.factor = self._choose(options.factor)

    def _choose(self, factor: float | None) -> float:
        if factor is not None:
            return float(factor)
        if self._kind in ("none", "dynamic_ntk"):
            return 1.0
        return max(1.0, self._planned / self.trained)

    @property
    def reach(self) -> int:
        """The last position that is one of training, stretched."""
        if self._visual_only:
            return self.trained + int(self._visual_tokens * (1 - 1 / self.factor))
        return int(self.trained * self.factor)

    def rope(self, length: int | None = None) -> intp_ext.Rope:
        """The frequencies of a sequence of ``length`` tokens (dynamic_ntk alone asks).

        Raises:
            ModelError: the model already stretches its RoPE, or has frequencies of another rule.
        """
        own = self._own
        if self._kind == "dynamic_ntk":
            unchanged = length is None or length <= self.trained
        else:
            unchanged = self._kind == "none" or self.factor == 1
        if unchanged:
            return own  # the model's own, to the bit
        if self._rope_type not in ("default", "proportional"):
            raise ModelError(
                f"the model stretches its RoPE already (rope_type {self._rope_type!r}); use "
                'rope="none"'
            )
        if self._visual_only:
            return own  # the positions are stretched instead
        theta = compat.rope_theta(self._config)
        turns = own.inv_freq != 0  # "proportional" has some that do not
        plain = intp_ext.rope_frequencies("none", own.rotary_dim, base=theta)
        known = own.inv_freq.device.type != "meta"  # an empty model has none to compare
        if known and not torch.allclose(
            plain.inv_freq * turns.cpu(), own.inv_freq.cpu(), rtol=1e-4
        ):
            raise ModelError(
                f"the frequencies of the model are not those of rope_theta {theta:g}; use "
                'rope="none"'
            )
        stretched = intp_ext.rope_frequencies(
            self._kind,
            own.rotary_dim,
            base=theta,
            factor=self.factor,
            original_max_position=self.trained,
            length=length,
            sections=own.sections,
            interleaved_sections=own.interleaved_sections,
            device=own.inv_freq.device,
        )
        return dataclasses.replace(stretched, inv_freq=stretched.inv_freq * turns)

    def of_sequence(
        self, mask: torch.Tensor | None, rows: int, has_video: bool
    ) -> tuple[intp_ext.Rope | None, int]:
        """The frequencies of a new sequence, None for those of all, and the positions they reach.

        Args:
            mask: padding ``[B, S]``, or None.
            rows: S.
            has_video: it begins with one.

        Raises:
            ModelError: dynamic_ntk would give rows of the batch different frequencies.
        """
        if self._kind != "dynamic_ntk":
            return None, self.reach
        least = self._planned if has_video else self.trained
        lengths = [rows] if mask is None or mask.dim() != 2 else mask.sum(-1).tolist()
        lengths = sorted({max(least, self._distance(int(length))) for length in lengths})
        if len(lengths) > 1:
            raise ModelError(
                f'rope="dynamic_ntk" gives prompts of {lengths[0]} and of {lengths[-1]} tokens '
                "frequencies of their own, and a batch has one set; ask them one by one, or use "
                'rope="ntk"'
            )
        return self.rope(lengths[0]), lengths[0]
