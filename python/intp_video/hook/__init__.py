"""The hook: one call lets a Hugging Face Video-LLM watch a long video, one call takes it all back.

entry      the call, by the options in ../options.py
handle     what it does to a model, and the way back
stretch    scaling factor and frequencies;  rotary: in place of rotary_emb
encoder    in place of get_video_features
forward    around every forward pass;  passes: one of them, and its proof;  padding: its mask
sequence   what lives as long as a cache;  cache: its layers
attention  in place of the attention and the mask function
"""

from ..options import Options
from .entry import extend, make_options
from .handle import Handle

__all__ = ["Handle", "Options", "extend", "make_options"]
