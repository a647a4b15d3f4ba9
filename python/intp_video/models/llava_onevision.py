"""LLaVA-OneVision: SigLIP on each frame, halved bilinearly, and one newline behind the video."""

from __future__ import annotations

from typing import Any

from .frames import FrameFamily, side_in_patches


class LlavaOnevision(FrameFamily):
    model_type = "llava_onevision"
    class_name = "LlavaOnevisionForConditionalGeneration"

    def tokens_per_frame(self, config: Any) -> int:
        return ((side_in_patches(config.vision_config) + 1) // 2) ** 2

    def surplus_tokens(self, config: Any) -> int:
        return 1
