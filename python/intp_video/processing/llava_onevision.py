"""LLaVA-OneVision: square frames, pooled 2 x 2, and one newline token after the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .fixed import FixedSizeProcessing
from .model_frames import Units
from .pixels import BICUBIC, CLIP


@dataclass(frozen=True, kw_only=True)
class LlavaOnevisionProcessing(FixedSizeProcessing):
    """The newline belongs to no unit: it is a placeholder more than ``sum(units.tokens)``."""

    model_types = ("llava_onevision",)
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"height": 384, "width": 384},
        "do_center_crop": False,
    }

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        return placeholder, [sum(units.tokens) + 1]
