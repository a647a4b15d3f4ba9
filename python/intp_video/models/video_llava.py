"""Video-LLaVA (Lin et al., arXiv 2311.10122), as ``VideoLlavaForConditionalGeneration``.

The Hugging Face port encodes each frame on its own; the original tower attends over exactly 8
frames (``towers/temporal_clip.py``). Both are called with whole groups of 8, so both are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import compat
from ..errors import ModelError
from .base import VideoModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class VideoLlava(VideoModel):
    model_type = "video_llava"

    def model_class(self, config: Any) -> type[PreTrainedModel]:
        from transformers import VideoLlavaForConditionalGeneration

        from ..towers import TemporalClipConfig, TemporalVideoLlava

        if isinstance(config.vision_config, TemporalClipConfig):
            return TemporalVideoLlava
        return VideoLlavaForConditionalGeneration

    def frames_per_group(self, config: Any) -> int:
        return getattr(config.vision_config, "num_frames", None) or 8

    def tokens_per_frame(self, config: Any) -> int:
        vision = config.vision_config
        return (
            vision.image_size // vision.patch_size
        ) ** 2 + 1  # the class token is kept for videos

    def video_token_id(self, config: Any) -> int:
        return config.video_token_index

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        module = getattr(model, "model", None)
        if module is None:
            raise ModelError(
                f"expected the whole model, a VideoLlavaForConditionalGeneration, got its part "
                f"{type(model).__name__}"
            )
        if getattr(module, "video_tower", None) is None:
            raise ModelError(
                f"{type(model).__name__} has no video tower: nothing to show a video to"
            )
        return module

    def text_model(self, model: PreTrainedModel) -> PreTrainedModel:
        language_model = model.model.language_model
        return getattr(
            language_model, "_orig_mod", language_model
        )  # inside torch.compile's wrapper

    def features_of(self, output: Any) -> torch.Tensor:
        return compat.pooled_features(output)

    def output_like(self, output: Any, features: torch.Tensor, frames: int) -> Any:
        return compat.output_with_features(output, features, frames)
