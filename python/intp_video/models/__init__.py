"""The families of Video-LLMs that can be extended: model type -> :class:`VideoModel`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import ModelError
from .base import VideoModel
from .video_llava import VideoLlava

__all__ = ["VIDEO_MODELS", "VideoModel", "empty_model", "video_model_for"]

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


def empty_model(config: Any) -> PreTrainedModel:
    """The model a config describes, with shapes and no weights."""
    with torch.device("meta"):
        return video_model_for(config).model_class(config)(config)
