"""EXAONE 4.5: the tower of Qwen2.5-VL, and a decoder that counts positions as in text.

By transformers' defaults three of four of its layers have a sliding window and RoPE, and every
fourth sees everything and has none. So no two tokens that RoPE turns are further apart than that
window, however long the video.
"""

from __future__ import annotations

from typing import Any

from .grids import GridFamily


class Exaone4_5(GridFamily):
    model_type = "exaone4_5"
    class_name = "Exaone4_5_ForConditionalGeneration"

    def rope_distance(self, config: Any, positions: int) -> int:
        window = config.text_config.sliding_window
        return positions if window is None else min(positions, window)
