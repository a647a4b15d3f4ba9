"""torchvision beside a CPU build of torch: its Python is enough for transformers' processors.

The package index has torchvision for CUDA alone. Its compiled library does not load beside a CPU
build, and then its import fails because it describes operators that do not exist. No processor
calls one of them: resizing, padding and normalizing are Python over torch. So the names are
declared, without a kernel. ``pip install --no-deps torchvision`` brings it and no other torch.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import torch

_OPERATORS = ("nms", "qnms")
_declared = []


def has_torchvision() -> bool:
    """Import torchvision if it is installed, and tell whether it is."""
    if find_spec("torchvision") is None:
        return False
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in _OPERATORS:
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)  # they go when it goes
        import torchvision  # noqa: F401
    return True
