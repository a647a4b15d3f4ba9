"""The hook: one call lets a Hugging Face Video-LLM watch a long video, one call takes it all back.

options      every option, with its choices
extend       the call;  handle: what it does to a model, and the way back
stretch      scaling factor and frequencies;  rotary: in place of rotary_emb
encoder      in place of get_video_features
forward      around every forward pass;  passes: one of them, and its proof;  padding: its mask
sequence     what lives as long as a cache;  cache: its layers
attention    in place of the attention and the mask function
"""

from .extend import extend, make_options
from .handle import Handle
from .options import Options

__all__ = ["Handle", "Options", "extend", "make_options"]
