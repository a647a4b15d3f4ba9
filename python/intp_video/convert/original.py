"""The configs of the original layout, and ours made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..towers import TemporalClipConfig

_LLAMA = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps"),
    *("rope_theta", "rope_scaling", "attention_bias", "mlp_bias"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
_TOWER = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_channels", "image_size", "patch_size", "hidden_act", "layer_norm_eps"),
    *("projection_dim", "num_frames"),
)
_MUST_BE = {
    "model_type": ("llava", "llava_llama"),
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_use_im_start_end": (None, False),
    "tie_word_embeddings": (None, False),
}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no config.json there") from None
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected an object, got {type(config).__name__}")
    return config


def check_checkpoint_config(config: dict[str, Any], folder: Path) -> None:
    """Says what in the config of a checkpoint is not the Video-LLaVA that is converted.

    Raises:
        ModelError: naming the key, what it must be and what it is.
    """
    for key, values in _MUST_BE.items():
        if config.get(key) not in values:
            expected = " or ".join(json.dumps(value) for value in values if value is not None)
            raise ModelError(
                f"{folder}: {key}: expected {expected}, got {json.dumps(config.get(key))}"
            )
    for key in ("vocab_size", "mm_hidden_size", "mm_vision_select_layer"):
        if not isinstance(config.get(key), int):
            raise ModelError(
                f"{folder}: {key}: expected an integer, got {json.dumps(config.get(key))}"
            )


def tower_config(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """vision_config from the config of a tower, which is that of a whole CLIP.

    Raises:
        ModelError: it has no attention over time, or none of a number of frames.
    """
    vision = config.get("vision_config")
    if not isinstance(vision, dict):
        raise ModelError(f"{folder}: expected a vision_config in config.json, got none")
    if not vision.get("add_time_attn"):
        raise ModelError(
            f"{folder}: add_time_attn: expected true, got {json.dumps(vision.get('add_time_attn'))}"
            ": a tower without attention over time is that of transformers' own Video-LLaVA"
        )
    if "num_frames" not in vision:
        raise ModelError(f"{folder}: num_frames: expected an integer, got none")
    values = {key: vision[key] for key in _TOWER if key in vision}
    return {"model_type": TemporalClipConfig.model_type, **values}


def check_widths(config: dict[str, Any], vision: dict[str, Any], folder: Path) -> None:
    """Says that the projector of a checkpoint is for another tower.

    Raises:
        ModelError: naming both widths.
    """
    width, expected = config["mm_hidden_size"], _of_tower(vision, "hidden_size")
    if width != expected:
        raise ModelError(
            f"{folder}: mm_hidden_size: expected {expected}, as the tower has, got {width}"
        )


def video_llava_config(
    config: dict[str, Any], vision: dict[str, Any], vocabulary: int, image: int, video: int
) -> dict[str, Any]:
    """config.json of the converted model, as transformers 4.57 spells it.

    Args:
        config: of the checkpoint.
        vision: from :func:`tower_config`.
        vocabulary: tokens, with the placeholders.
        image, video: the placeholders.
    """
    patches = (_of_tower(vision, "image_size") // _of_tower(vision, "patch_size")) ** 2
    text = {key: config[key] for key in _LLAMA if config.get(key) is not None}
    return {
        "architectures": ["TemporalVideoLlava"],
        "model_type": "video_llava",
        "torch_dtype": config.get("torch_dtype") or "float16",
        "image_token_index": image,
        "video_token_index": video,
        "projector_hidden_act": "gelu",
        "multimodal_projector_bias": True,
        "vision_feature_layer": config["mm_vision_select_layer"],
        "vision_feature_select_strategy": "default",
        "image_seq_length": patches,
        "video_seq_length": (patches + 1) * vision["num_frames"],
        "tie_word_embeddings": False,
        "vision_config": vision,
        "text_config": {
            "model_type": "llama",
            **text,
            "vocab_size": vocabulary,
            "tie_word_embeddings": False,
        },
    }


def _of_tower(vision: dict[str, Any], key: str) -> int:
    return vision.get(key, getattr(TemporalClipConfig(), key))
