"""How far back the layers of a decoder see, by its config."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache


def cached_windows(text_config: Any) -> list[int | None]:
    """The tokens that each layer with a cache of its own sees, itself included; None: all of them.

    As transformers' own cache has it, which knows every way in which configs say so. Layers that
    read the keys of others stand behind all that have their own, and are left out.
    """
    layers = DynamicCache(config=text_config).layers
    layers = [layer for layer in layers if type(layer).__name__ != "DummyLayer"]
    return [getattr(layer, "sliding_window", None) for layer in layers]


def recurrent_layers(text_config: Any) -> frozenset[int]:
    """The layers that keep a state of one size in place of keys and values."""
    kinds = getattr(text_config, "layer_types", None) or ()
    return frozenset(place for place, kind in enumerate(kinds) if kind == "linear_attention")
