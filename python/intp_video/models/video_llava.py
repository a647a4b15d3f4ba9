"""Video-LLaVA (Lin et al., arXiv 2311.10122), as ``VideoLlavaForConditionalGeneration``.

The Hugging Face port encodes each frame on its own; the original tower attends over exactly 8
frames (``towers/temporal_clip.py``). Both are called with whole groups of 8, so both are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import compat
from ..errors import ModelError
from .family import flat
from .frames import FrameFamily, side_in_patches

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class VideoLlava(FrameFamily):
    model_type = "video_llava"
    class_name = "VideoLlavaForConditionalGeneration"
    groups_are_real = True

    def model_class(self, config: Any) -> type[PreTrainedModel]:
        from ..towers import TemporalClipConfig, TemporalVideoLlava

        if isinstance(config.vision_config, TemporalClipConfig):
            return TemporalVideoLlava
        return super().model_class(config)

    def frames_per_group(self, config: Any) -> int:
        return getattr(config.vision_config, "num_frames", None) or 8

    def tokens_per_frame(self, config: Any) -> int:
        return side_in_patches(config.vision_config) ** 2 + 1  # the class token is kept for videos

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        module = super().multimodal_module(model)
        if getattr(module, "video_tower", None) is None:
            raise ModelError(
                f"{type(model).__name__} has no video tower: nothing to show a video to"
            )
        return module

    def rows_of(self, output: Any) -> list[torch.Tensor]:
        return [flat(compat.pooled_features(output))]

    def output_like(self, output: Any, videos: list[list[torch.Tensor]]) -> Any:
        features = torch.cat([rows for (rows,) in videos])
        features = features.reshape(-1, *compat.pooled_features(output).shape[1:])
        return compat.output_with_features(output, features, len(features) // len(videos))
