"""Weights in 4 or 8 bits, by a library of others that is installed."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

import torch

from .errors import ModelError
from .options import LOAD_IN

log = logging.getLogger("intp_video")

_LIBRARIES = {"bitsandbytes": "bitsandbytes", "optimum-quanto": "optimum.quanto"}
"""By the name that pip has for it, the module; in the order in which they are looked for."""

_said: set[str] = set()


def quantizer(load_in: str) -> str:
    """The library that will be used.

    Raises:
        ModelError: none is installed, or accelerate, by which transformers places what it packs.
        ValueError: neither "4bit" nor "8bit".
    """
    if load_in not in LOAD_IN:
        raise ValueError(f"load_in: expected one of {', '.join(LOAD_IN)}, got {load_in!r}")
    found = next((name for name, module in _LIBRARIES.items() if _is_installed(module)), None)
    missing = [] if found else [" or ".join(_LIBRARIES)]
    if not _is_installed("accelerate"):
        missing.append("accelerate")
    if missing:
        raise ModelError(
            f"load_in: {load_in!r} needs {' and '.join(missing)}, not installed: pip install "
            f"{found or next(iter(_LIBRARIES))} accelerate"
        )
    assert found is not None
    return found


def states_of(model: torch.nn.Module) -> list[Any]:
    """What layers of packed weights keep beside parameters and buffers: with bitsandbytes in 8
    bits, the weights themselves from the first call on."""
    return [layer.state for layer in model.modules() if type(layer).__name__ == "Linear8bitLt"]


def quantization(load_in: str, dtype: torch.dtype) -> Any:
    """What ``from_pretrained`` takes as ``quantization_config``; the library is logged once.

    Args:
        load_in: "4bit" or "8bit".
        dtype: of what is multiplied with the weights.

    Raises:
        ModelError, ValueError: see :func:`quantizer`.
    """
    library = quantizer(load_in)
    if load_in not in _said:
        _said.add(load_in)
        log.warning("weights in %s by %s", load_in.replace("bit", " bits"), library)
    if library == "bitsandbytes":
        from transformers import BitsAndBytesConfig

        if load_in == "8bit":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
    from transformers import QuantoConfig

    return QuantoConfig(weights=f"int{load_in[0]}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
