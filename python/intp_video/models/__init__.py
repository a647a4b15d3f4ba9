"""The families of Video-LLMs that can be extended: model type -> :class:`VideoFamily`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import ModelError
from .exaone4_5 import Exaone4_5
from .family import Layout, VideoFamily
from .gemma4 import Gemma4
from .glm4v import Glm4v, Glm4vMoe, Glm46v
from .internvl import InternVL
from .llava_next_video import LlavaNextVideo
from .llava_onevision import LlavaOnevision
from .qwen2_5_vl import Qwen2_5VL
from .qwen2_vl import Qwen2VL
from .qwen3_5 import Qwen3_5, Qwen3_5Moe
from .qwen3_vl import Qwen3VL, Qwen3VLMoe
from .qwen_omni import Qwen2_5OmniThinker, Qwen3OmniThinker
from .smolvlm import SmolVLM
from .unsupported import WHY_NOT
from .video_llama_3 import VideoLlama3
from .video_llava import VideoLlava

__all__ = ["FAMILIES", "WHY_NOT", "Layout", "VideoFamily", "empty_model", "family_for"]

FAMILIES: dict[str, VideoFamily] = {
    family.model_type: family
    for family in (
        VideoLlava(),
        LlavaNextVideo(),
        LlavaOnevision(),
        InternVL(),
        SmolVLM(),
        VideoLlama3(),
        Qwen2VL(),
        Qwen2_5VL(),
        Exaone4_5(),
        Gemma4(),
        Qwen3VL(),
        Qwen3VLMoe(),
        Qwen3_5(),
        Qwen3_5Moe(),
        Glm4v(),
        Glm4vMoe(),
        Glm46v(),
        Qwen2_5OmniThinker(),
        Qwen3OmniThinker(),
    )
}


def family_for(config: Any) -> VideoFamily:
    """The family of a config.

    Raises:
        ModelError: a model type that is not known, or known not to work; the message says which.
    """
    model_type = getattr(config, "model_type", None)
    if model_type in WHY_NOT:
        raise ModelError(f"model type {model_type!r} cannot be extended: {WHY_NOT[model_type]}")
    if model_type not in FAMILIES:
        raise ModelError(
            f"model type {model_type!r} is not known; known: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def empty_model(config: Any) -> PreTrainedModel:
    """The model a config describes, with shapes and no weights."""
    with torch.device("meta"):
        return family_for(config).model_class(config)(config)
