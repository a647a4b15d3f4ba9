"""The random models that bench_ask asks, by shape, and inputs for them.

Attention, cache and tokens a frame are those of the models people use: heads and their size in the
decoder, patches and their merging in the tower. In the size "medium" depth, the decoder's MLP and
the tower's width are cut until about 100 to 150 M parameters are left; "7b" is Video-LLaVA uncut.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import intp_video
import torch
import transformers
from intp_video import compat
from intp_video.lab.random_model import SIZES as RANDOM_SIZES
from intp_video.processing import ModelFrames, processing_for
from intp_video.processing.pixels import CLIP
from intp_video.video import Clip
from torch import nn

QUESTION = "Which shapes appear, and in what order?"
SIZES = {  # by shape
    "video_llava": (*RANDOM_SIZES, "7b"),
    "qwen2_5_vl": ("tiny", "medium"),
    "internvl": ("tiny", "medium"),
}
VIDEO, IMAGE, START, END, VOCABULARY = 1999, 1998, 1997, 1996, 2048
BEFORE, AFTER = 12, 16  # tokens of text around a video

Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Asked:
    """A model and how a clip becomes its inputs.

    Attributes:
        rope: of every arm; "none": the model's own frequencies.
    """

    model: nn.Module
    inputs: Callable[[Clip], Inputs]
    rope: str


@dataclass(frozen=True)
class Shape:
    """A family without a tokenizer: token ids stand for its text.

    Attributes:
        config: makes the arguments of its config, by size.
        around_unit: tokens of text before and behind the placeholders of a unit; None: all units
            stand in one run.
        values: of the preprocessor, by size, where they differ from the family's own.
        rope: of every arm.
    """

    config_class: str
    config: Callable[[bool], dict[str, Any]]
    around_unit: tuple[int, int] | None = None
    values: Callable[[bool], dict[str, Any]] = lambda tiny: {}
    rope: str = "none"

    def make(self, size: str, dtype: torch.dtype, device: torch.device) -> Asked:
        torch.manual_seed(0)
        tiny = size == "tiny"
        config = getattr(transformers, self.config_class)(**self.config(tiny))
        model_class = intp_video.models.family_for(config).model_class(config)
        with device:  # billions of weights are drawn where they stay
            model = model_class._from_config(config, dtype=dtype).eval()
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        processing = processing_for(config.model_type).from_values(self.values(tiny), config)

        def inputs(clip: Clip) -> Inputs:
            found = processing.frames(clip.frames, clip.timestamps, clip.duration)
            ids = self.token_ids(found)
            more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            if processing.token_types and compat.takes_token_types():
                more["mm_token_type_ids"] = (ids == processing.placeholder_id) * 2
            return {**found.tensors, **more}

        return Asked(model, inputs, self.rope)

    def token_ids(self, frames: ModelFrames) -> torch.Tensor:
        if self.around_unit is None:
            video = [START, *[VIDEO] * sum(frames.units.tokens), END]
        else:
            before, behind = self.around_unit
            video = []
            for tokens in frames.units.tokens:
                video += [*range(10, 10 + before), *[IMAGE] * tokens]
                video += range(20, 20 + behind)
        return torch.tensor([[*range(100, 100 + BEFORE), *video, *range(200, 200 + AFTER)]])


def _text(**sizes: int) -> dict[str, Any]:
    return {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, **sizes}


def _qwen2_5_vl(tiny: bool) -> dict[str, Any]:
    """Qwen2.5-VL-3B: 16 query and 2 key heads of 128; a token is 2 x 2 patches of two frames."""
    heads = (4, 2) if tiny else (16, 2)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    names = {"rope_scaling": rope, "rope_theta": 1e6}
    if not transformers.__version__.startswith("4."):
        names = {"rope_parameters": rope}
    text = _text(
        hidden_size=128 * heads[0],
        intermediate_size=256 if tiny else 2752,
        num_hidden_layers=2 if tiny else 4,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=128000,
    )
    vision = {
        "depth": 2 if tiny else 4,
        "hidden_size": 80 if tiny else 640,
        "intermediate_size": 160 if tiny else 1710,
        "num_heads": 1 if tiny else 8,
        "fullatt_block_indexes": [1 if tiny else 3],
        "out_hidden_size": text["hidden_size"],
        "tokens_per_second": 2,
    }
    return {
        "text_config": {**text, **names},
        "vision_config": vision,
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": START,
        "vision_end_token_id": END,
    }


def _internvl(tiny: bool) -> dict[str, Any]:
    """InternVL3-1B: 14 query and 2 key heads of 64; 256 tokens a frame of 448 x 448 pixels."""
    heads = (4, 2) if tiny else (14, 2)
    text = _text(
        hidden_size=64 * heads[0],
        intermediate_size=256 if tiny else 4864,
        num_hidden_layers=2 if tiny else 6,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        max_position_embeddings=32768,
    )
    side = 112 if tiny else 448
    vision = {
        "hidden_size": 64 if tiny else 512,
        "intermediate_size": 128 if tiny else 2048,
        "num_hidden_layers": 2 if tiny else 4,
        "num_attention_heads": 1 if tiny else 8,
        "image_size": [side, side],
        "patch_size": [14, 14],
    }
    return {
        "text_config": {"model_type": "qwen2", **text},
        "vision_config": vision,
        "image_token_id": IMAGE,
        "image_seq_length": (side // 28) ** 2,
        "downsample_ratio": 0.5,
    }


def _internvl_values(tiny: bool) -> dict[str, Any]:
    side = 112 if tiny else 448
    return {"size": {"height": side, "width": side}}


def _qwen2_5_vl_values(tiny: bool) -> dict[str, Any]:
    return {"size": {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}} if tiny else {}


def _video_llava_7b(tiny: bool) -> dict[str, Any]:
    """Video-LLaVA-7B: Vicuna-7B, and a CLIP ViT-L/14 for images and one for videos."""
    text = _text(
        vocab_size=32064,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
        max_position_embeddings=4096,
    )
    vision = {
        "image_size": 224,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "projection_dim": 768,
    }
    return {
        "text_config": {"model_type": "llama", **text},
        "vision_config": {"model_type": "clip_vision_model", **vision},
        "image_token_index": IMAGE,
        "video_token_index": VIDEO,
    }


def _video_llava_values(tiny: bool) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": 224},
        "crop_size": {"height": 224, "width": 224},
        **CLIP,
    }


VIDEO_LLAVA_7B = Shape("VideoLlavaConfig", _video_llava_7b, values=_video_llava_values, rope="ntk")


def _video_llava(size: str, dtype: torch.dtype, device: torch.device) -> Asked:
    if size == "7b":
        return VIDEO_LLAVA_7B.make(size, dtype, device)
    with tempfile.TemporaryDirectory() as folder:
        directory = intp_video.make_random_model(Path(folder) / "model", size)
        model, preparer = intp_video.load(directory, dtype=dtype)
    return Asked(model.to(device), lambda clip: preparer(clip, QUESTION), "ntk")


SHAPES: dict[str, Callable[[str, torch.dtype, torch.device], Asked]] = {
    "video_llava": _video_llava,
    "qwen2_5_vl": Shape("Qwen2_5_VLConfig", _qwen2_5_vl, values=_qwen2_5_vl_values).make,
    "internvl": Shape("InternVLConfig", _internvl, (4, 2), _internvl_values).make,
}
