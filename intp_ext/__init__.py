"""Operators for long videos in short-trained Video-LLMs (INTP, arXiv 2409.12963).

Token rearrangement, interpolated RoPE and windowed attention, as PyTorch operators (CPU, CUDA).
"""

from . import _loader as _loader  # first: the operators must exist before the rest describes them
from .info import build_info
from .kv_cache import KVCache
from .operators import cache_in_graph as cache_in_graph  # registered, for compiled code
from .operators.apply_rope import apply_rope
from .operators.attention import attention
from .operators.cached_attention import cached_attention
from .operators.rearrange import rearrange
from .operators.token_order import token_order, validate
from .plan import AttentionPlan, attention_plan
from .rope import Rope, rope_frequencies
from .window import Bounds, Window

__version__ = "0.1.0"

__all__ = [
    "AttentionPlan",
    "Bounds",
    "KVCache",
    "Rope",
    "Window",
    "__version__",
    "apply_rope",
    "attention",
    "attention_plan",
    "build_info",
    "cached_attention",
    "rearrange",
    "rope_frequencies",
    "token_order",
    "validate",
]
