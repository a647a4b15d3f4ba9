"""Frames and questions to the inputs of each family of Video-LLMs, in torch alone.

One file for each family over two bases: :mod:`.fixed`, frames of one size, and :mod:`.grid`, rows
of patches. The rules of size are in :mod:`.sizes`, the text around a video in :mod:`.prompt`.
"""

from __future__ import annotations

from ..errors import ModelError
from ..models import WHY_NOT
from .base import VideoProcessing
from .gemma4 import Gemma4Processing
from .glm4v import Glm4vProcessing, Glm46vProcessing
from .internvl import InternvlProcessing
from .llava_next_video import LlavaNextVideoProcessing
from .llava_onevision import LlavaOnevisionProcessing
from .model_frames import ModelFrames, Units
from .qwen2_vl import (
    Exaone45Processing,
    Qwen2VlProcessing,
    Qwen3OmniProcessing,
    Qwen25OmniProcessing,
    Qwen25VlProcessing,
)
from .qwen3_vl import Qwen3VlProcessing
from .smolvlm import SmolvlmProcessing
from .video_llama_3 import VideoLlama3Processing
from .video_llava import VideoLlavaProcessing

__all__ = ["PROCESSING", "ModelFrames", "Units", "VideoProcessing", "processing_for"]

_FAMILIES: tuple[type[VideoProcessing], ...] = (
    VideoLlavaProcessing,
    Qwen25VlProcessing,
    Qwen2VlProcessing,
    Qwen3VlProcessing,
    LlavaOnevisionProcessing,
    InternvlProcessing,
    LlavaNextVideoProcessing,
    SmolvlmProcessing,
    VideoLlama3Processing,
    Glm4vProcessing,
    Glm46vProcessing,
    Gemma4Processing,
    Exaone45Processing,
    Qwen25OmniProcessing,
    Qwen3OmniProcessing,
)

PROCESSING = {name: family for family in _FAMILIES for name in family.model_types}
"""Model type, as in config.json -> how its inputs are made."""


def processing_for(model_type: str | None) -> type[VideoProcessing]:
    """How the inputs of a model type are made.

    Raises:
        ModelError: a model type that is not known, or known not to work; the message says which.
    """
    if model_type in WHY_NOT and model_type not in PROCESSING:  # some run, but are not extended
        raise ModelError(f"model type {model_type!r} cannot be extended: {WHY_NOT[model_type]}")
    if model_type not in PROCESSING:
        raise ModelError(
            f"model type {model_type!r} is not known; known: {', '.join(sorted(PROCESSING))}"
        )
    return PROCESSING[model_type]
