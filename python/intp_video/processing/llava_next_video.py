"""LLaVA-NeXT-Video: frames of one size, each pooled 2 x 2, one unbroken run of placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .fixed import FixedSizeProcessing
from .pixels import BICUBIC, CLIP
from .prompt import VICUNA, has_template


@dataclass(frozen=True, kw_only=True)
class LlavaNextVideoProcessing(FixedSizeProcessing):
    """Without a chat template the prompt is that of Vicuna v1, which the published models have."""

    model_types = ("llava_next_video",)
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    }

    def _prompt(self, marker: str, question: str, tokenizer: Any) -> str:
        if has_template(tokenizer, self.chat_template):
            return super()._prompt(marker, question, tokenizer)
        return VICUNA.format(video=marker, question=question)
