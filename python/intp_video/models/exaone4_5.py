"""EXAONE 4.5: the tower of Qwen2.5-VL, and a decoder that counts positions as in text.

By transformers' defaults three of four of its layers have a sliding window. As with any such text
model, a window over frames and a packed cache are then refused.
"""

from __future__ import annotations

from .grids import GridFamily


class Exaone4_5(GridFamily):
    model_type = "exaone4_5"
    class_name = "Exaone4_5_ForConditionalGeneration"
