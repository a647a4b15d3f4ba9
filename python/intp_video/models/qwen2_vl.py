"""Qwen2-VL: two frames a patch, attention inside each patch of time, M-RoPE."""

from __future__ import annotations

from .grids import GridFamily


class Qwen2VL(GridFamily):
    model_type = "qwen2_vl"
    class_name = "Qwen2VLForConditionalGeneration"
    mrope = "contiguous"
    text_overtakes_frames = True  # since 5.3
