"""What the hook needs to know about a family of Video-LLMs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class VideoModel(ABC):
    """A family: where its parts are and how its video encoder is called; one file for each."""

    model_type: str  # as in config.json

    @abstractmethod
    def model_class(self, config: Any) -> type[PreTrainedModel]:
        """The class for generation: transformers' own (its auto classes differ between 4.57 and
        5), or one of ours if the config asks for a tower that transformers lacks."""

    @abstractmethod
    def frames_per_group(self, config: Any) -> int:
        """N: frames the video encoder was trained on."""

    @abstractmethod
    def tokens_per_frame(self, config: Any) -> int:
        """P: tokens the projector makes of one frame."""

    @abstractmethod
    def video_token_id(self, config: Any) -> int:
        """The placeholder token that a video feature replaces."""

    @abstractmethod
    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        """The module whose ``forward`` merges features into embeddings and has
        ``get_video_features``."""

    @abstractmethod
    def text_model(self, model: PreTrainedModel) -> PreTrainedModel:
        """The decoder: embeddings in, hidden states out; owns ``layers`` and ``rotary_emb``."""

    @abstractmethod
    def features_of(self, output: Any) -> torch.Tensor:
        """Features ``[V * F, P, C]`` in what the model's own ``get_video_features`` returned."""

    @abstractmethod
    def output_like(self, output: Any, features: torch.Tensor, frames: int) -> Any:
        """Features ``[V * M, P, C]`` in the form of that output, M = ``frames``."""
