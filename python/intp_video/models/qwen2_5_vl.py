"""Qwen2.5-VL: as Qwen2-VL, with windows inside a patch of time and positions in seconds."""

from __future__ import annotations

from typing import Any

from .grids import GridFamily


class Qwen2_5VL(GridFamily):
    model_type = "qwen2_5_vl"
    class_name = "Qwen2_5_VLForConditionalGeneration"
    mrope = "contiguous"
    text_overtakes_frames = True  # since 5.3

    def positions_per_unit(self, config: Any) -> int:
        return config.vision_config.tokens_per_second
