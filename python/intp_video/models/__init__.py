"""The families of Video-LLMs that can be extended: model type -> :class:`VideoModel`."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError
from .base import VideoModel
from .video_llava import VideoLlava

__all__ = ["VIDEO_MODELS", "VideoModel", "video_model_for"]

VIDEO_MODELS: dict[str, VideoModel] = {family.model_type: family for family in (VideoLlava(),)}


def video_model_for(config: Any) -> VideoModel:
    """The family of a config.

    Raises:
        ModelError: a model type that is not known; the message lists those that are.
    """
    model_type = getattr(config, "model_type", None)
    if model_type not in VIDEO_MODELS:
        raise ModelError(
            f"model type {model_type!r} is not known; known: {', '.join(sorted(VIDEO_MODELS))}"
        )
    return VIDEO_MODELS[model_type]
