"""The cache layers of an extended model: keys are brought into time order and rotated once, when
written; with ``kv_bits`` they are packed in the same pass, and read packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticCache, StaticLayer

import intp_ext

from . import compat
from .errors import ModelError
from .passes import CURRENT, ForwardPass, broken
from .sequence import Sequence


def _pass_of(sequence: Sequence) -> ForwardPass | None:
    """The pass under way, if it is one that writes this sequence through our layers."""
    now = CURRENT.now
    return now if now is not None and now.sequence is sequence and now.own_layers else None


class Followed:
    """What is done to the rows and to the length of a cache is done to its sequence: once, by the
    first layer, which ``leads``."""

    sequence: Sequence
    leads: bool

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        super().reorder_cache(beam_idx)
        self._index(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self._index(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        visual = self.sequence.visual
        super().batch_repeat_interleave(repeats)
        if visual is not None:
            self._index(torch.arange(len(visual.start)).repeat_interleave(repeats))

    def crop(self, tokens: int) -> None:
        super().crop(tokens)
        if self.leads:
            self.sequence.crop(self.get_seq_length())

    def _index(self, rows: torch.Tensor) -> None:
        if self.leads:
            self.sequence.index(rows)


class ExtendedLayer(Followed, DynamicLayer):
    """A ``DynamicLayer`` whose ``update`` prepares the new keys and values first.

    Once the pass that it belongs to is over it is an ordinary layer, so a cache outlives its
    extension.
    """

    def __init__(self, sequence: Sequence, leads: bool) -> None:
        super().__init__()
        self.sequence, self.leads = sequence, leads

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        now = _pass_of(self.sequence)
        if now is None:
            return super().update(key_states, value_states, *args, **kwargs)
        states = super().update(*now.prepare_keys(key_states, value_states), *args, **kwargs)
        now.saw_update(key_states, states[0])
        return states

    def undo(self, length: int) -> None:
        """As it was when it held ``length`` tokens."""
        if self.is_initialized and self.keys.shape[-2] > length:
            self.keys, self.values = self.keys[..., :length, :], self.values[..., :length, :]


@dataclass(frozen=True)
class Packing:
    """How ``extend(kv_bits=...)`` caches: arguments of :class:`intp_ext.KVCache`."""

    bits: int
    rotate: str = "on_write"


class PackedStates:
    """What a packed layer's ``update`` returns in place of keys and of values.

    Our attention function reads ``cache``; anything else that touches it is told where it is.
    """

    def __init__(self, cache: intp_ext.KVCache) -> None:
        self.cache = cache

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ModelError(
            f"{name!r} was asked of keys that are packed (kv_bits={self.cache.bits}): only the "
            'attention function "intp" of the extended model reads them; extend without kv_bits '
            "for another one"
        )


class _PackedLayer(compat.CacheLayerNames, DynamicLayer):
    """What a layer of transformers is asked for, over an :class:`intp_ext.KVCache`."""

    def __init__(self, sequence: Sequence, leads: bool, packing: Packing, like: Any = None) -> None:
        super().__init__()
        self.sequence, self.leads, self.packing = sequence, leads, packing
        # of a static layer: generate() looks at both before it uses a cache again
        self.max_cache_len: int | None = getattr(like, "max_cache_len", None)
        self.max_batch_size: int | None = getattr(like, "max_batch_size", None)
        self.cache: intp_ext.KVCache | None = None
        self._mark: tuple | None = None  # before the newest tokens

    def __repr__(self) -> str:
        return f"PackedLayer({self.cache})"

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[PackedStates, PackedStates]:
        now = _pass_of(self.sequence)
        if now is None:
            raise ModelError(
                "the cache holds packed keys (kv_bits), which an extended model alone can read and "
                "add to: extend it again, or begin with an empty cache"
            )
        now.follow(key_states.device)
        if self.packing.rotate == "on_read" and not now.withheld:
            raise broken("keys that our rotary embedding was not asked about were to be cached")
        if self.cache is None:
            self.cache = intp_ext.KVCache(
                self.packing.bits,
                rope=now.rope if now.withheld else None,
                rotate=self.packing.rotate,
                capacity=self.max_cache_len,
            )
            self.is_initialized = True
        self._mark = self.cache.mark(key_states.shape[2])
        now.pack_keys(self.cache, key_states, value_states)
        states = PackedStates(self.cache)
        now.saw_update(key_states, states)
        return states, states

    def undo(self, length: int) -> None:
        """As it was when it held ``length`` tokens, if that was before the newest ones."""
        if self.cache is None or self.cache.length <= length:
            return
        if length == 0:
            self.reset()
        else:
            self.cache.rewind(self._mark)

    def get_seq_length(self, *args: Any) -> int:
        return 0 if self.cache is None else self.cache.length

    def reset(self) -> None:
        if self.cache is not None:
            self.cache.reset()

    def crop(self, tokens: int) -> None:
        if self.cache is not None:
            self.cache.crop(compat.length_after_crop(tokens, self.cache.length))

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        if self.cache is not None:
            self.cache.reorder(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.cache is not None and self.cache.shape is not None:
            self.cache.reorder(torch.arange(self.cache.shape[0]).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        if self.cache is not None and self.cache.shape is not None:
            self.cache.reorder(torch.arange(self.cache.shape[0], device=indices.device)[indices])

    def offload(self) -> None:
        raise ModelError("a packed cache (kv_bits) is not offloaded; use the default cache")

    prefetch = offload


class PackedLayer(Followed, _PackedLayer):
    """A layer over an :class:`intp_ext.KVCache`, for as long as its model is extended.

    ``keys`` and ``values`` are None: nothing of it lies unpacked.
    """


def adopt(cache: Cache | None, sequence: Sequence, layers: int, packing: Packing | None) -> bool:
    """Make an empty ``DynamicCache`` write through our layers, in place; with ``packing`` a
    ``StaticCache`` too, whose length becomes their capacity. False where it is of another kind."""
    if cache is None:
        return True
    ours = (DynamicLayer, ExtendedLayer, PackedLayer)
    if isinstance(cache, DynamicCache) and all(type(layer) in ours for layer in cache.layers):
        like = None
    elif isinstance(cache, StaticCache) and packing is not None:
        if any(type(layer) not in (StaticLayer, PackedLayer) for layer in cache.layers):
            return False
        like = cache.layers[0]
    else:
        return False
    if packing is None:
        cache.layers = [ExtendedLayer(sequence, index == 0) for index in range(layers)]
        return True
    if getattr(cache, "offloading", False):
        return False
    cache.layers = [PackedLayer(sequence, index == 0, packing, like) for index in range(layers)]
    return True


def holds_packed(cache: Cache | None) -> bool:
    return any(isinstance(layer, PackedLayer) for layer in getattr(cache, "layers", ()))


def sequence_of(cache: Cache) -> Sequence | None:
    """The sequence whose keys a cache holds, if an extended model wrote it; a copy of the cache
    has a copy of its sequence."""
    layer = cache.layers[0] if cache.layers else None
    if isinstance(layer, ExtendedLayer | PackedLayer):
        return layer.sequence
    return getattr(cache, "intp_sequence", None)


def kv_cache_bytes(cache: Cache) -> tuple[int, int]:
    """Bytes in use and bytes reserved by all layers of a packed cache."""
    caches = [layer.cache for layer in cache.layers if isinstance(layer, PackedLayer)]
    caches = [c for c in caches if c is not None]
    return sum(c.nbytes for c in caches), sum(c.nbytes_allocated for c in caches)
