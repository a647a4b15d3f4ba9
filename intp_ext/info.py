"""What was built, and what is in use."""

from __future__ import annotations

from typing import Any

import torch

from . import _loader


def build_info() -> dict[str, Any]:
    """Facts of the build and of this process, ready for JSON.

    Build: ``version``, ``commit``, ``wheel`` (the platform that a wheel for other machines is named
    for, else None), ``python`` (or several, of such a wheel), ``compiler``, ``torch_headers``,
    ``torch_needed``, ``cpu_levels``, ``cuda`` (was its library built), ``cuda_reason``,
    ``cuda_arch_list``, ``nvcc``.
    Process: ``torch``, ``torch_cuda``, ``cpu_level`` (the instruction set in use), ``cuda_loaded``,
    ``cuda_loaded_reason``.
    """
    return {
        **_loader.build_info(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cpu_level": _loader.CPU_LEVEL,
        "cuda_loaded": _loader.CUDA_LOADED,
        "cuda_loaded_reason": _loader.CUDA_REASON,
    }
