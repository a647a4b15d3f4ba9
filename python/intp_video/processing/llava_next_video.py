"""LLaVA-NeXT-Video: frames of one size, each pooled 2 x 2, one unbroken run of placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .fixed import FixedSizeProcessing
from .pixels import BICUBIC, CLIP
from .prompt import VICUNA


@dataclass(frozen=True, kw_only=True)
class LlavaNextVideoProcessing(FixedSizeProcessing):
    model_types = ("llava_next_video",)
    prompt_without_template = VICUNA  # which the published models have
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
    }
