"""LLaVA-NeXT-Video: CLIP or SigLIP on each frame, 2 x 2 patches pooled into one token."""

from __future__ import annotations

from typing import Any

from .frames import FrameFamily, side_in_patches


class LlavaNextVideo(FrameFamily):
    model_type = "llava_next_video"
    class_name = "LlavaNextVideoForConditionalGeneration"

    def tokens_per_frame(self, config: Any) -> int:
        return (side_in_patches(config.vision_config) // config.spatial_pool_stride) ** 2
