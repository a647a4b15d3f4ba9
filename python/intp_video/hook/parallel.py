"""Tensor parallelism of transformers: each rank has some heads of every layer."""

from __future__ import annotations

from typing import Any

from ..errors import ModelError


def check_heads(layer: Any) -> None:
    """Say that key heads cannot be spread over the ranks, before a layer reshapes a part of one.

    Args:
        layer: an attention module; its weights are distributed tensors under tensor parallelism.

    Raises:
        ModelError: a rank has no whole number of them.
    """
    weight: Any = getattr(getattr(layer, "k_proj", None), "weight", None)
    head_dim = getattr(layer, "head_dim", None)
    if head_dim is None or not hasattr(weight, "to_local"):
        return
    here, whole = weight.to_local().shape[0], weight.shape[0]
    if here % head_dim:
        raise ModelError(
            f"{type(layer).__name__} has {whole // head_dim} key heads, which cannot be spread "
            f"over {weight.device_mesh.size()} ranks: expected a number of ranks that divides them"
        )
