"""The small files of a Video-LLaVA directory, as ``from_pretrained`` reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["CLIP_MEAN", "CLIP_STD", "write_json", "write_processors"]

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]
_BICUBIC = 3


def write_processors(directory: Path, image: int, patch: int) -> None:
    """The values of the published Video-LLaVA, at an image size (pixels, square) of our own."""
    values = {
        "do_resize": True,
        "size": {"shortest_edge": image},
        "resample": _BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": image, "width": image},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": CLIP_MEAN,
        "image_std": CLIP_STD,
        "do_convert_rgb": True,
        "processor_class": "VideoLlavaProcessor",
    }
    write_json(
        directory / "preprocessor_config.json",
        values | {"image_processor_type": "VideoLlavaImageProcessor"},
    )
    write_json(
        directory / "video_preprocessor_config.json",
        values | {"video_processor_type": "VideoLlavaVideoProcessor"},
    )
    write_json(
        directory / "processor_config.json",
        {
            "processor_class": "VideoLlavaProcessor",
            "patch_size": patch,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<image>",
            "video_token": "<video>",
        },
    )


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
