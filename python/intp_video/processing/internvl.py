"""InternVL: square frames that are images to the model, each announced by its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .fixed import FixedSizeProcessing
from .model_frames import Units
from .pixels import BICUBIC, CLIP
from .prompt import special_token


@dataclass(frozen=True, kw_only=True)
class InternvlProcessing(FixedSizeProcessing):
    """``pixel_values`` float32 ``[F, 3, height, width]``."""

    model_types = ("internvl",)
    shown_as = "image"
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"height": 384, "width": 384},
        "do_center_crop": False,
    }

    def _tensors(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": pixels}

    def _marker(self, placeholder: str, tokenizer: Any) -> str:
        return special_token(tokenizer, "video_token", "<video>")

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        start = special_token(tokenizer, "start_image_token", "<img>")
        end = special_token(tokenizer, "end_image_token", "</img>")
        lines = (f"Frame{i + 1}: {start}{placeholder}{end}" for i in range(len(units.tokens)))
        return "\n".join(lines), units.tokens
