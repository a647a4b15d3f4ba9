"""The cache layer of an extended model: keys are brought into time order and rotated once, when
written."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .sequence import Sequence


class ExtendedLayer(DynamicLayer):
    """A ``DynamicLayer`` whose ``update`` prepares the new keys and values first.

    Once the pass that it belongs to is over it is an ordinary layer, so a cache outlives its
    extension.
    """

    def __init__(self, sequence: Sequence) -> None:
        super().__init__()
        self.sequence = sequence

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key_states, value_states = self.sequence.prepare_keys(key_states, value_states)
        return super().update(key_states, value_states, *args, **kwargs)


def adopt(cache: Cache | None, sequence: Sequence, layers: int) -> bool:
    """Make an empty ``DynamicCache`` write through our layers, in place. False where it is of
    another kind."""
    if cache is None:
        return True
    if cache.layers and all(isinstance(layer, ExtendedLayer) for layer in cache.layers):
        for layer in cache.layers:
            layer.sequence = sequence
        return True
    if not isinstance(cache, DynamicCache) or any(
        type(layer) is not DynamicLayer for layer in cache.layers
    ):
        return False
    cache.layers = [ExtendedLayer(sequence) for _ in range(layers)]
    return True


def sequence_of(cache: Cache) -> Sequence | None:
    """The sequence whose keys a cache holds, if it was written through our layers."""
    layer = cache.layers[0] if cache.layers else None
    return layer.sequence if isinstance(layer, ExtendedLayer) else None
