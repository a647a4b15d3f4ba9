"""The hook: one call lets a Hugging Face Video-LLM watch a long video, one call undoes it all.

entry      the call, with the options in ../options.py
handle     what it does to a model, and how that is undone
stretch    scaling factor and frequencies;  rotary: replaces rotary_emb
encoder    replaces get_video_features
forward    wraps every forward pass;  passes: one pass, and its proof;  padding: its mask
sequence   what lives as long as a cache;  cache: its layers
attention  the attention and the mask function, before those of ../backend
"""

from ..options import Options
from .entry import check_extension, extend, make_options
from .handle import Handle

__all__ = ["Handle", "Options", "check_extension", "extend", "make_options"]
