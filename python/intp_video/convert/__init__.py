"""The original Video-LLaVA checkpoint as a model directory of this package.

``original.py`` reads its configs, ``names.py`` says which of its tensors becomes which of ours,
``shards.py`` reads weight files, ``directory.py`` checks all of it and writes.
"""

from .directory import Conversion, convert_video_llava

__all__ = ["Conversion", "convert_video_llava"]
