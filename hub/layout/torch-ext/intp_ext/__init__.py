"""Operators for long videos in short-trained Video-LLMs (INTP, arXiv 2409.12963).

Token rearrangement, interpolated RoPE, causal and windowed attention, as PyTorch operators.
"""

from .operators.apply_rope import apply_rope
from .operators.attention import attention
from .operators.rearrange import rearrange
from .operators.token_order import token_order, validate
from .rope import Rope, rope_frequencies
from .window import Bounds, Window

__all__ = [
    "Bounds",
    "Rope",
    "Window",
    "apply_rope",
    "attention",
    "rearrange",
    "rope_frequencies",
    "token_order",
    "validate",
]
