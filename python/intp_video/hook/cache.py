"""The cache layers of an extended model: they bring new keys into time order and rotate them once,
when they write them after the earlier ones. Packed layers (``kv_bits``) do so in one pass, and are
read packed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, StaticCache, StaticLayer

import intp_ext

from .. import compat
from ..errors import ModelError
from ..options import Options
from .passes import CURRENT, ForwardPass, as_autocast, broken
from .sequence import Sequence


def _pass_of(sequence: Sequence) -> ForwardPass | None:
    """The pass under way, if it is one of this sequence."""
    now = CURRENT.now
    return now if now is not None and now.sequence is sequence else None


_Layer: Any = object  # it stands before a layer of transformers


class Followed(_Layer):
    """Changes to the rows and the length of a cache also apply to its sequence: once, by the first
    layer, which ``leads``."""

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
            self._index(torch.arange(len(visual.count)).repeat_interleave(repeats))

    def crop(self, tokens: int) -> None:
        super().crop(tokens)
        if self.leads:
            self.sequence.crop(self.get_seq_length())

    def _index(self, rows: torch.Tensor) -> None:
        if self.leads:
            self.sequence.index(rows)


class ExtendedLayer(Followed, DynamicLayer):
    """A ``DynamicLayer`` whose ``update`` prepares the new keys and values first, and writes them
    behind those of earlier tokens, in memory that has room for more.

    ``keys`` and ``values`` are always those of all tokens: once the pass that it belongs to is over
    it is an ordinary layer, so a cache outlives its extension. Whoever kept them keeps what they
    were: after a crop the next token goes to memory of its own.
    """

    is_initialized: bool

    def __init__(self, sequence: Sequence, leads: bool) -> None:
        super().__init__()
        self.sequence, self.leads = sequence, leads
        self._memory: intp_ext.KVCache | None = None
        self._shown: tuple[Any, Any] = (None, None)  # keys and values of that memory

    def __getstate__(self) -> dict[str, Any]:
        """A copy has memory of its own."""
        return {**vars(self), "_memory": None, "_shown": (None, None)}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        now = _pass_of(self.sequence)
        if now is None:
            return super().update(key_states, value_states, *args, **kwargs)
        if not self._may_write(key_states):
            self._memory = None
            prepared = now.prepare_keys(key_states, value_states)
            states = super().update(*prepared, *args, **kwargs)
        else:
            now.follow(key_states.device)
            memory = self._memory_for(now)
            now.pack_keys(memory, key_states, value_states)
            self.dtype, self.device = memory.dtype, memory.device
            self.is_initialized = True
            states = self._show(memory)
        now.saw_update(key_states, states[0])
        return states

    def _may_write(self, key: torch.Tensor) -> bool:
        """Autograd keeps what it saw, a compiled graph has its own way with memory, and a token of
        another dtype changes that of all."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        held = self.keys if self.is_initialized else None
        return held is None or not held.numel() or held.dtype == as_autocast(key).dtype

    def _is_whole(self) -> bool:
        """Nobody else has changed the tensors of our memory for others."""
        keys, values = self._shown
        return self._memory is not None and self.keys is keys and self.values is values

    def _memory_for(self, now: ForwardPass) -> intp_ext.KVCache:
        """That of all tokens so far, which rotates new keys where the pass leaves it to us."""
        memory = self._memory
        if memory is not None and self._is_whole() and (memory.rope is not None) == now.rotates:
            return memory
        rope = now.rope if now.rotates else None  # new, or changed by somebody else
        memory = intp_ext.KVCache(rope=rope)
        if self.is_initialized and self.keys.numel():
            copied = intp_ext.KVCache()
            copied.append(self.keys.contiguous(), self.values.contiguous())
            memory.hold(copied.held()[0], None, None, None, (copied.length, 0))
        return memory

    def _show(self, memory: intp_ext.KVCache) -> tuple[torch.Tensor, torch.Tensor]:
        self._memory = memory
        self.keys, self.values = memory.rows()
        self._shown = self.keys, self.values
        return self.keys, self.values

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        memory = self._memory
        if memory is None or not self._is_whole():
            super().reorder_cache(beam_idx)
            return
        memory.reorder(beam_idx)
        self._show(memory)
        self._index(beam_idx)

    def offload(self) -> None:
        self._memory, self._shown = None, (None, None)  # or it would not leave the device
        super().offload()

    def mark(self) -> Any:
        """For :meth:`rewind`."""
        return self.get_seq_length()

    def rewind(self, mark: Any) -> None:
        """Forget exactly what was appended since, and go on in the same memory."""
        memory = self._memory
        if memory is None or not self._is_whole():
            self.undo(mark)
            return
        memory.crop(mark)  # nothing of it is packed
        self._show(memory)

    def sizes(self) -> tuple[int, int]:
        """Bytes in use, bytes reserved."""
        if not self.is_initialized:
            return 0, 0
        used = self.keys.nbytes + self.values.nbytes
        if self._memory is None or not self._is_whole():
            return used, used
        return used, self._memory.nbytes_allocated

    def undo(self, length: int) -> None:
        """As it was when it held ``length`` tokens."""
        if self.is_initialized and self.keys.shape[-2] > length:
            self._memory = None
            self.keys, self.values = self.keys[..., :length, :], self.values[..., :length, :]


class PackedStates:
    """What a packed layer's ``update`` returns in place of keys and of values.

    Our attention function reads ``cache``; anything else that touches it is told where it is.
    """

    def __init__(self, cache: intp_ext.KVCache) -> None:
        self.cache = cache

    def to(self, device: torch.device, **options: Any) -> PackedStates:
        """Layers that read the keys of another one ask for them on their own device."""
        if self.cache.device != device:
            raise ModelError(
                f"packed keys (kv_bits={self.cache.bits}) on {self.cache.device} were asked for on "
                f"{device}: put all layers on one device, or extend without kv_bits"
            )
        return self

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

    def __init__(self, sequence: Sequence, leads: bool, options: Options, like: Any) -> None:
        super().__init__()
        self.sequence, self.leads = sequence, leads
        self._bits, self._rotate = options.kv_bits, options.kv_rotate
        # of a static layer: generate() looks at both before it uses a cache again
        self.max_cache_len: int | None = getattr(like, "max_cache_len", None)
        self.max_batch_size: int | None = getattr(like, "max_batch_size", None)
        self.cache: intp_ext.KVCache | None = None
        self._mark: tuple[Any, ...] | None = None  # before the newest tokens

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
        if self._rotate == "on_read" and not now.withheld:
            raise broken("keys that our rotary embedding was not asked about were to be cached")
        if self.cache is None:
            self.cache = intp_ext.KVCache(
                self._bits,
                rope=now.rope if now.rotates else None,
                rotate=self._rotate if now.rotates else "on_write",
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
            assert self._mark is not None
            self.cache.rewind(self._mark)

    def mark(self) -> Any:
        """For :meth:`rewind`."""
        return None if self.cache is None else self.cache.mark()

    def rewind(self, mark: Any) -> None:
        """Forget exactly what was appended since."""
        if mark is None:
            self.reset()
        elif self.cache is not None:
            self.cache.rewind(mark)

    def sizes(self) -> tuple[int, int]:
        """Bytes in use, bytes reserved."""
        return (0, 0) if self.cache is None else (self.cache.nbytes, self.cache.nbytes_allocated)

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


def adopt(
    cache: Cache | None,
    sequence: Sequence,
    places: list[int],
    sliding: frozenset[int],
    layers: int,
    options: Options,
) -> bool:
    """Make an empty ``DynamicCache``, and where needed a ``StaticCache``, write through our layers.

    In place, layer by layer: those of another kind (a sliding window, a recurrent state) stay, and
    layers that see a sliding window are never packed. The length of a ``StaticCache`` becomes the
    capacity of ours.

    Args:
        cache: of the model.
        sequence: what it begins.
        places: the layers of the decoder that attend.
        sliding: those that see a sliding window.
        layers: all layers of the decoder.
        options: of the extension.

    Returns:
        Whether all keys go through our layers. Where some do not that would have to, nothing is
        done.
    """
    if cache is None:
        return True
    # a static layer of transformers cannot write in another order than it is given
    needed = options.packed or options.rearrange == "attention"
    ours: tuple[type, ...] = (DynamicLayer, ExtendedLayer, PackedLayer)
    static = isinstance(cache, StaticCache)
    if static and needed:
        ours = (StaticLayer, PackedLayer)
    elif not isinstance(cache, DynamicCache):
        return False
    packed = options.packed or static
    left = sliding if packed else frozenset()
    made = list(cache.layers)
    if not made and len(places) == layers:
        made = [DynamicLayer() for _ in range(layers)]
    wanted = [place for place in places if place not in left]
    taken = [place for place in wanted if place < len(made) and type(made[place]) in ours]
    if taken != wanted and needed:
        return False
    if packed and getattr(cache, "offloading", False):
        return False
    for place in taken:
        leads = place == taken[0]
        made[place] = (
            PackedLayer(sequence, leads, options, made[place])
            if packed
            else ExtendedLayer(sequence, leads)
        )
    cache.layers = made
    return taken == places


def names_of_layers(cache: Cache) -> str:
    """For messages."""
    return ", ".join(sorted({type(layer).__name__ for layer in cache.layers})) or "no layers"


def is_static(cache: Cache) -> bool:
    """Whether all of its layers are transformers' own static ones, which a reset empties."""
    return all(isinstance(layer, StaticLayer) for layer in cache.layers)


def holds_packed(cache: Cache | None) -> bool:
    return any(isinstance(layer, PackedLayer) for layer in getattr(cache, "layers", ()))


def sequence_of(cache: Cache) -> Sequence | None:
    """The sequence of a cache that an extended model wrote; a copied cache has a copy of it."""
    for layer in cache.layers:
        if isinstance(layer, Followed):
            return layer.sequence
    return getattr(cache, "intp_sequence", None)


@contextmanager
def forgetting(cache: Cache) -> Iterator[None]:
    """What is appended meanwhile to a cache of our layers alone is forgotten afterward, exactly."""
    sequence = sequence_of(cache)
    assert sequence is not None
    marks, state = [layer.mark() for layer in cache.layers], sequence.state()
    try:
        yield
    finally:
        for layer, mark in zip(cache.layers, marks, strict=True):
            layer.rewind(mark)
        sequence.set_state(state)


def kv_cache_bytes(cache: Cache) -> tuple[int, int]:
    """Bytes in use and bytes reserved by all layers that an extended model wrote."""
    sizes = [layer.sizes() for layer in cache.layers if isinstance(layer, Followed)]
    return sum(used for used, _ in sizes), sum(reserved for _, reserved in sizes)
