"""The model of the motion task: its sizes, its words, and the directory it is written to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import VideoLlavaConfig

from ....towers import TemporalVideoLlava
from ...model_directory import (
    FRAMES,
    tokens_per_frame,
    video_llava_config,
    write_model_directory,
)
from ...motion import DIRECTIONS
from ...shapes import COLORS
from ..vocabulary import Vocabulary

IMAGE_SIZE, PATCH_SIZE = 24, 8
TOKENS_PER_FRAME = tokens_per_frame(IMAGE_SIZE, PATCH_SIZE)

VOCABULARY = Vocabulary(
    (
        *("user:", "assistant:", "which", "way", "did", "the", "shape", "move", "color", "moved"),
        *("faster", "slower", "first", "last"),
        *DIRECTIONS,
        *COLORS,
    )
)

# <s> user: [video] [the longest question] assistant: [answer] </s>
TRAINED_CONTEXT = 2 + FRAMES * TOKENS_PER_FRAME + 7 + 3


def config() -> dict[str, Any]:
    """config.json, as transformers 4.57 spells it."""
    vision = {
        "model_type": "temporal_clip_vision_model",
        "num_frames": FRAMES,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "projection_dim": 96,
    }
    text = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "head_dim": 32,
        "max_position_embeddings": TRAINED_CONTEXT,
    }
    return video_llava_config(
        "TemporalVideoLlava", vision, text, feature_layer=-1, feature_strategy="full"
    )


def untrained_model(seed: int) -> TemporalVideoLlava:
    """The model before its first step. Seeds torch's own generator.

    transformers' 0.02 is for wide models: at this width all attention begins uniform, and the
    language model learnt nothing of what the tower saw in a thousand steps.
    """
    torch.manual_seed(seed)
    model = TemporalVideoLlava(VideoLlavaConfig.from_dict(config()))
    for part in (model.model.multi_modal_projector, model.model.language_model.layers):
        for weight in part.parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=model.config.text_config.hidden_size**-0.5)
    return model


def write_directory(directory: Path, model: TemporalVideoLlava) -> None:
    """Weights, config, tokenizer and preprocessor values, in the format of the Hugging Face hub."""
    # while training, both tables of words are one
    weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    write_model_directory(directory, config(), weights, VOCABULARY.tokenizer())
