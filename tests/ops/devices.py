"""Where a test of an operator runs: ``@pytest.mark.parametrize("device", DEVICES)``."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import intp_ext
from intp_ext import Window


def _no_cuda() -> str | None:
    info = intp_ext.build_info()
    if not info["cuda_loaded"]:
        return f"no CUDA operators: {info['cuda_loaded_reason']}"
    return None if torch.cuda.is_available() else "no GPU that torch can use"


_REASON = _no_cuda()
CUDA = pytest.param("cuda", marks=pytest.mark.skipif(_REASON is not None, reason=str(_REASON)))
DEVICES = ["cpu", CUDA]


def to_device(value, device: str):
    """Tensors in tuples, lists, dicts and windows; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return type(value)(to_device(x, device) for x in value)
    if isinstance(value, dict):
        return {name: to_device(x, device) for name, x in value.items()}
    if isinstance(value, Window):
        names = ("block_start", "dense_from", "first_key")
        return replace(value, **{name: to_device(getattr(value, name), device) for name in names})
    return value
