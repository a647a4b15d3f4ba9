"""The KV cache, of 16 bits or packed; :func:`cached_attention` reads it in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from . import _checks, reference_kv
from ._autograd import mark_written
from ._ops import ops
from .kv_memory import BUFFERS, PAGE, PAGES, ROWS, SINKS, Format, Memory
from .rope import Rope

ROTATE = ("on_write", "on_read")
RECENT, SINK = 128, 4  # tokens that up to 4 bits leave exact
MOST_SINKS = 2**24
BITS = (*reference_kv.BITS, 16)
_OPTIONS = ("bits", "rotate", "key_group", "value_group", "recent", "sink")


class KVCache:
    """Keys and values of one attention layer, quantized as they come (KIVI, arXiv 2402.02750).

    Keys have one scale and one zero per channel over ``key_group`` tokens; values have one of each
    per token over ``value_group`` channels. Both are in the dtype of the states. The zero is
    exactly the smallest value, and no value is off by more than half a step
    (:func:`intp_ext.reference_kv.quantize`). The newest tokens, ``recent`` of them and those of the
    group that they begin in, stay in full precision, however they were split into calls; so do the
    first ``sink`` real tokens of each row, which many queries attend to.

    Equivalent eager PyTorch at 16 bits: ``k = torch.cat((k, new_k), dim=2)``, and the same for v.

    Arguments and results are copied, except the views that :meth:`rows` and :meth:`pages` return.
    A call that raises leaves the cache as it was.

    Args:
        bits: per code: 2, 3, 4 or 8; 2.5: keys have 3 and values 2; 16 stores both as they are.
        rope: rotates keys by their positions; None: keys are already rotated, or need no rotation.
        rotate: "on_write": keys are rotated once, when they are appended. "on_read": they are
            cached unrotated and rotated while they are read, so that :meth:`set_rope` changes the
            rotation of everything cached.
        key_group: tokens, a multiple of 64. None: 64; at 2.5 bits 128, which loses no more there,
            and half the scales are saved.
        value_group: channels, a multiple of 16; the last group of a head may be narrower.
        recent: so many of the newest tokens are never packed. A group is packed once all of its
            tokens are older; with 0 as soon as it is complete. 16 bits pack nothing. None: 128 for
            up to 4 bits, which most attention goes to, and 0 for 8 bits, which lose nothing.
        sink: so many of the first tokens of a row that are not padding stay exact, and out of every
            scale and zero. They are counted from the first one that is cached. None: 4 for up to 4
            bits, else 0.
        capacity: the most tokens it may hold, reserved up front; None: it grows by a quarter. Under
            ``torch.compile`` a cache with a capacity is compiled once for each shape of the new
            tokens; one that grows is compiled again as it grows.

    Attributes:
        bits, rope, rotate, key_group, value_group, recent, sink, capacity: as given, or chosen.
        key_bits, value_bits: of a code of each.
        length: tokens in the cache, padding included.
        shape: ``(B, Hkv, length, D)``, or None before the first append.

    Raises:
        TypeError, ValueError: an argument out of range; the message names it.
    """

    def __init__(
        self,
        bits: float = 16,
        *,
        rope: Rope | None = None,
        rotate: str = "on_write",
        key_group: int | None = None,
        value_group: int = 64,
        recent: int | None = None,
        sink: int | None = None,
        capacity: int | None = None,
    ) -> None:
        where = "KVCache"
        if _checks.number(where, "bits", bits) not in BITS:
            raise ValueError(f"{where}: bits: expected one of {BITS}, got {bits!r}")
        bits = BITS[BITS.index(bits)]  # 4.0 is 4
        if rotate not in ROTATE:
            raise ValueError(f"{where}: rotate: expected one of {ROTATE}, got {rotate!r}")
        if key_group is None:
            key_group = 128 if bits == 2.5 else PAGE
        for name, value, unit in (
            ("key_group", key_group, PAGE),
            ("value_group", value_group, reference_kv.LANES),
        ):
            if _checks.count(where, name, value) == 0 or value % unit:
                raise ValueError(f"{where}: {name}: expected a multiple of {unit}, got {value}")
        loses = bits <= 4
        if recent is None:
            recent = RECENT if loses else 0
        if sink is None:
            sink = SINK if loses else 0
        for name, value in (("recent", recent), ("sink", sink)):
            _checks.count(where, name, value)
        if sink > MOST_SINKS:
            raise ValueError(f"{where}: sink: expected at most {MOST_SINKS}, got {sink}")
        if capacity is not None:
            _checks.count(where, "capacity", capacity, least=1)
        self._format = Format(bits, key_group, value_group, capacity, recent, sink)
        self.rotate = rotate
        self.rope: Rope | None = None
        self._memory: Memory
        self._hold({})
        self._set_rope(rope)

    def __repr__(self) -> str:
        kept = "empty" if self.shape is None else f"{list(self.shape)} {self.dtype}"
        return f"KVCache(bits={self.bits}, rotate={self.rotate!r}, {kept}, {self.nbytes} bytes)"

    # ---- what it is ----

    @property
    def bits(self) -> float:
        return self._format.bits

    @property
    def key_bits(self) -> int:
        return self._format.key_bits

    @property
    def value_bits(self) -> int:
        return self._format.value_bits

    @property
    def key_group(self) -> int:
        return self._format.key_group

    @property
    def value_group(self) -> int:
        return self._format.value_group

    @property
    def recent(self) -> int:
        return self._format.recent

    @property
    def sink(self) -> int:
        return self._format.sink

    @property
    def capacity(self) -> int | None:
        return self._format.capacity

    # ---- what it holds ----

    @property
    def length(self) -> int:
        return self._memory.length

    @property
    def _buffers(self) -> dict[str, torch.Tensor]:
        return self._memory.buffers

    @property
    def shape(self) -> tuple[int, int, int, int] | None:
        if not self._buffers:
            return None
        batch, heads, _, dim = self._buffers["k_rows"].shape
        return batch, heads, self.length, dim

    @property
    def dtype(self) -> torch.dtype | None:
        return self._buffers["k_rows"].dtype if self._buffers else None

    @property
    def device(self) -> torch.device | None:
        return self._buffers["k_rows"].device if self._buffers else None

    @property
    def packed(self) -> int:
        """Tokens in pages, whole groups; those after them are in full precision."""
        return self._memory.packed

    @property
    def positions(self) -> torch.Tensor | None:
        """float32 ``[B, length]``, or ``[3, B, length]``, where there is a rope."""
        kept = self._memory.used_positions()
        return None if kept is None else kept.clone()

    @property
    def kv_bounds(self) -> torch.Tensor | None:
        """int32 ``[B, 2]``: tokens ``lo <= j < hi`` are not padding; None if no token is."""
        bounds = self._memory.bounds
        return None if bounds is None else bounds.clone()

    @property
    def nbytes(self) -> int:
        """Bytes in use: codes, scales, zeros, tokens in full precision, positions, bounds."""
        memory = self._memory
        used = (*memory.used().values(), memory.used_positions(), memory.bounds, memory.first)
        return sum(x.numel() * x.element_size() for x in used if x is not None)

    @property
    def nbytes_allocated(self) -> int:
        """Bytes reserved."""
        buffers, others = self.held()
        reserved = (*buffers, *others)
        return sum(x.numel() * x.element_size() for x in reserved if x is not None)

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length - packed, D]`` of the tokens after ``packed``, as views."""
        return self._memory.rows()

    def pages(self) -> tuple[torch.Tensor, ...]:
        """Codes of keys and of values, then their scales and zeros: all that is reserved. What they
        hold of a sink is not used."""
        return tuple(self._buffers[name] for name in PAGES)

    def dequantize(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length, D]`` in the dtype of the states, in new memory.

        For tests and inspection. Keys are as cached: unrotated with ``rotate="on_read"``. Padding
        holds arbitrary finite numbers.

        Raises:
            ValueError: nothing was appended yet.
        """
        if not self._buffers:
            raise ValueError("KVCache.dequantize: expected tokens, got an empty cache")
        k, v = self.rows()
        if not self.packed:
            return k.clone(), v.clone()
        packed_k, packed_v = self._memory.dequantize(0, self.packed // self.key_group)
        return torch.cat((packed_k, k), dim=2), torch.cat((packed_v, v), dim=2)

    # ---- growing and shrinking ----

    def append(
        self,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: torch.Tensor | None = None,
        *,
        order: torch.Tensor | None = None,
        kv_bounds: torch.Tensor | None = None,
    ) -> None:
        """Cache new tokens, in one pass over k and v: gather, rotate, quantize, write.

        Args:
            k, v: ``[B, Hkv, S, D]`` float32, bfloat16 or float16, any strides with unit stride in
                D. The first ones decide batch, heads, head_dim, dtype and device.
            positions: of the new tokens, with a rope: int32, int64 or float32 ``[S]``, ``[1 or B,
                S]``, or ``[3, 1 or B, S]`` for M-RoPE, where one axis stands for three that agree;
                None: they follow the tokens in the cache. Kept as float32, exact below 2^24.
            order: int32 or int64 ``[S']`` or ``[B, S']``: the i-th new token of the cache is row
                ``order[i]`` of k and v; positions are those of the S' tokens. On CUDA a row that
                does not exist is cached as zeros (:func:`intp_ext.validate` finds it).
            kv_bounds: int32 ``[B, 2]``, indices in the cache: tokens outside ``lo <= j < hi`` are
                padding, which affects no scale or zero and may hold anything. The bounds apply to
                :func:`cached_attention` too and are kept: later tokens lengthen the rows that
                reached the end of the cache.

        Raises:
            TypeError: wrong type or dtype.
            ValueError: shapes, device or positions that do not fit, more tokens than ``capacity``,
                or, on the CPU, infinities or NaN to be quantized. The cache is then as it was. On
                CUDA, where the host would have to wait to see them, such a group gets NaN for its
                scale and zero: attention that sees it gives NaN.
        """
        where = "KVCache.append"
        if self.capacity is not None and torch.compiler.is_compiling():
            return self._append_in_graph(k, v, positions, order, kv_bounds)
        count = self._check_states(where, k, v, order)
        rope, begin = self.rope, self.length
        if rope is None and positions is not None:
            raise ValueError(f"{where}: positions: expected None for a cache without rope")
        if rope is not None:
            _checks.rope(where, rope, "k", k)
            if positions is None:
                positions = torch.arange(begin, begin + count, dtype=torch.float32, device=k.device)
            _checks.positions(where, positions, k.shape[0], count, rope, "k", k)
        bounds = self._next_bounds(where, kv_bounds, k, count)
        end = begin + count
        first = self._next_first(bounds, k, begin, end)
        if self.capacity is not None and end > self.capacity:
            raise ValueError(
                f"{where}: expected at most {self.capacity} tokens (capacity), got "
                f"{self.length} and {count} more"
            )
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError(f"{where}: expected k and v without grad: a cache is not a graph")
        memory = self._memory
        buffers, packed = memory.reserve(where, k, end), memory.packed
        now_packed = self._format.packed(end, packed)
        old: dict[str, torch.Tensor] = {}
        if memory.moves_rows(end):  # out of the memory there is into an empty one
            old, buffers = buffers, replace(memory, buffers=buffers).with_rows(())
        kept = None if positions is None else self._with_positions(positions, k, begin, end)
        write = rope if self.rotate == "on_write" else None
        sections = None if write is None or write.sections is None else list(write.sections)
        ops.kv_append(
            k,
            v,
            None if write is None else positions,
            None if write is None else write.inv_freq.contiguous(),
            1.0 if write is None else write.attention_scaling,
            sections,
            write is not None and write.interleaved_sections,
            order,
            bounds,
            first,
            begin,
            packed,
            now_packed,
            self.key_bits,
            self.value_bits,
            self.key_group,
            self.value_group,
            *(old.get(name) for name in ROWS),
            *(buffers[name] for name in BUFFERS),
        )
        names = BUFFERS if now_packed > packed else (*ROWS, *SINKS)
        mark_written(*(buffers[name] for name in names))  # pages are written by whole groups
        self._hold(buffers, kept, bounds, (end, now_packed), first)

    def reorder(self, beam_idx: torch.Tensor) -> None:
        """Row b becomes what row ``beam_idx[b]`` was (beam search); rows may vanish or repeat.

        Raises:
            TypeError, ValueError: not an int32 or int64 ``[B']``, or a row that does not exist.
        """
        where = "KVCache.reorder"
        _checks.tensor(where, "beam_idx", beam_idx, _checks.INDICES)
        if beam_idx.dim() != 1:
            raise ValueError(f"{where}: beam_idx: expected [B], got {list(beam_idx.shape)}")
        if not self._buffers:
            return
        index = beam_idx.to(self.device)
        batch = self._buffers["k_rows"].shape[0]
        if index.device.type == "cpu" and bool(((index < 0) | (index >= batch)).any()):
            raise ValueError(f"{where}: beam_idx: expected rows 0 to {batch - 1}, got {index}")
        self._memory = self._memory.index(index)

    def crop(self, length: int) -> None:
        """Forget all tokens from ``length`` on.

        If that cuts a packed group, its remainder is dequantized, and quantized again with the
        tokens that complete it. Nothing else is unpacked.

        Raises:
            TypeError, ValueError: not an int, negative, or more than there are.
        """
        where = "KVCache.crop"
        if _checks.count(where, "length", length) > self.length:
            raise ValueError(f"{where}: length: expected at most {self.length}, got {length}")
        if length == self.length:
            return
        memory, buffers = self._memory, self._buffers
        packed = memory.packed
        if length < packed:
            group, rest = divmod(length, self.key_group)
            packed = length - rest
            if rest:
                remainder = memory.dequantize(group, group + 1)
                buffers = memory.with_rows([x[:, :, :rest] for x in remainder])
        bounds = None if memory.bounds is None else memory.bounds.clamp(max=length)
        self._hold(buffers, memory.positions, bounds, (length, packed), memory.first_before(length))

    def mark(
        self, tokens: int | None = None
    ) -> tuple[tuple[int, int], torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """A copy of the tokens that are not packed, with which :meth:`rewind` forgets later ones
        exactly.

        Args:
            tokens: the most that will follow; nothing is copied if no group is packed for them.
                None: any number.
        """
        memory = self._memory
        length, packed = memory.counts
        kept = self.bits == 16 or (tokens is not None and not memory.moves_rows(length + tokens))
        rows = [None, None] if kept or not self._buffers else [x.clone() for x in self.rows()]
        return ((length, packed), *rows, self.kv_bounds)

    def rewind(self, mark: tuple[Any, ...]) -> None:
        """Return to :meth:`mark` exactly, where :meth:`crop` would dequantize a group.

        Since the mark, tokens may have been appended, and cropped as far as the mark; rows must not
        have been reordered.

        Raises:
            ValueError: fewer tokens than at the mark, another batch, or a group that was packed
                since for more tokens than :meth:`mark` was told.
        """
        counts, k, v, bounds = mark
        shape, length = self.shape, counts[0]
        if length > self.length or (k is not None and (shape is None or k.shape[0] != shape[0])):
            raise ValueError(
                f"KVCache.rewind: expected at least {length} tokens of the same batch, got {self}"
            )
        if k is None and length and self.packed != counts[1]:
            raise ValueError(
                f"KVCache.rewind: expected no more tokens than mark() was told, got {self.length} "
                f"after {length}, for which a group was packed"
            )
        self._hold(
            self._buffers if k is None else self._memory.with_rows((k, v)),
            self._memory.positions,
            None if bounds is None else bounds.clone(),
            counts,
            self._memory.first_before(length),
        )

    def reset(self) -> None:
        """Forget everything but the options; a fixed capacity stays reserved."""
        if self.capacity is None:
            self._hold({})
        else:
            self._hold(self._buffers, self._memory.positions)

    def set_rope(self, rope: Rope) -> None:
        """Set another rotation for all cached and later keys (``rotate="on_read"``).

        Raises:
            TypeError: not a Rope.
            ValueError: keys were rotated when they were written, or the cached positions have three
                axes and the rope no sections.
        """
        if self.rotate == "on_write" and self.length:
            raise ValueError(
                'KVCache.set_rope: the cached keys are rotated already; use rotate="on_read", or '
                "set it before the first append"
            )
        if rope is None:
            raise TypeError("KVCache.set_rope: rope: expected a Rope, got None")
        kept = self._memory.positions
        if kept is not None and kept.dim() == 3 and getattr(rope, "sections", ()) is None:
            if self.length:
                raise ValueError(
                    "KVCache.set_rope: rope: expected one with sections for cached positions "
                    f"[3, {kept.shape[1]}, {self.length}], got sections None"
                )
            self._memory = replace(self._memory, positions=None)
        self._set_rope(rope)

    def set_positions(self, positions: torch.Tensor) -> None:
        """Set other positions for all cached tokens (``rotate="on_read"``).

        Args:
            positions: int32, int64 or float32 ``[length]``, ``[1 or B, length]`` or, with sections,
                ``[3, 1 or B, length]``.

        Raises:
            TypeError, ValueError: wrong dtype or shape, or keys that were rotated when written.
        """
        where = "KVCache.set_positions"
        if self.rotate != "on_read" or self.rope is None:
            raise ValueError(
                f'{where}: the cached keys are rotated already; use rotate="on_read" to move them'
            )
        memory = self._memory
        if memory.positions is None:
            raise ValueError(f"{where}: expected tokens, got an empty cache")
        rows = self._buffers["k_rows"]
        _checks.positions(
            where, positions, rows.shape[0], self.length, self.rope, "the cache", rows
        )
        lead = (3, rows.shape[0]) if positions.dim() == 3 else memory.positions.shape[:-1]
        moved = memory.positions.new_empty((*lead, memory.positions.shape[-1]))
        moved[..., : self.length] = positions
        self._memory = replace(memory, positions=moved)

    # ---- saving and loading ----

    def state_dict(self) -> dict[str, Any]:
        """Options, and tensors cut to what is in use: ``torch.save`` takes it."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        state["length"], state["packed"] = self._memory.counts
        memory = self._memory
        state["tensors"] = {name: x.clone() for name, x in memory.used().items()} | memory.sinks()
        state["positions"], state["bounds"] = self.positions, self.kv_bounds
        state["first"] = None if memory.first is None else memory.first.clone()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the cache that ``state`` was taken from; the rope is not part of it.

        Raises:
            TypeError: an entry is not the expected int or tensor, or has another dtype.
            ValueError: other options, missing entries, shapes that do not fit, or more tokens than
                ``capacity``. The cache is then as it was.
        """
        where = "KVCache.load_state_dict"
        for name in (*_OPTIONS, "length", "packed", "tensors", "positions", "bounds", "first"):
            if name not in state:
                raise ValueError(f"{where}: {name}: expected an entry, got none")
        for name in _OPTIONS:
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"{where}: {name}: expected {getattr(self, name)!r}, got {state[name]!r}"
                )
        if (state["positions"] is not None) != (self.rope is not None) and state["length"]:
            raise ValueError(f"{where}: positions: expected where the cache has a rope, only there")
        length = _checks.count(where, "length", state["length"])
        if self.capacity is not None and length > self.capacity:
            raise ValueError(
                f"{where}: expected at most {self.capacity} tokens (capacity), got {length}"
            )
        packed = _checks.count(where, "packed", state["packed"])
        least, most = self._format.packed(length), length if self.bits != 16 else 0
        if packed % self.key_group or not least <= packed <= most:
            raise ValueError(
                f"{where}: packed: expected whole groups of {self.key_group} tokens, at least "
                f"{least} and at most {most} for {length} tokens, got {packed}"
            )
        loaded = KVCache(rope=self.rope, capacity=self.capacity, **{x: state[x] for x in _OPTIONS})
        if state["tensors"]:
            loaded._load(where, state, (length, packed))
        self._memory = loaded._memory

    # ---- for the operators of a compiled graph ----

    def held(self) -> tuple[list[torch.Tensor], tuple[torch.Tensor | None, ...]]:
        """Every tensor of it: buffers; positions, bounds, first real tokens."""
        memory = self._memory
        return list(memory.buffers.values()), (memory.positions, memory.bounds, memory.first)

    def hold(
        self,
        buffers: Sequence[torch.Tensor],
        positions: torch.Tensor | None,
        bounds: torch.Tensor | None,
        first: torch.Tensor | None,
        counts: tuple[int, int],
    ) -> None:
        """Take what :meth:`held` gave, from a cache with the same options; tokens, and those of
        them in pages."""
        self._hold(dict(zip(BUFFERS, buffers, strict=True)), positions, bounds, counts, first)

    def graph_arguments(self) -> tuple[Any, ...]:
        """Itself, as an operator's schema can say it."""
        memory, rope = self._memory, self.rope
        turn: tuple[Any, ...] = (None, 1.0, None, False)
        if rope is not None:
            sections = None if rope.sections is None else list(rope.sections)
            turn = (rope.inv_freq, rope.attention_scaling, sections, rope.interleaved_sections)
        buffers = list(memory.buffers.values())
        return (
            memory.place, buffers, memory.positions, memory.bounds, memory.first, *turn,
            self.bits, self.rotate, self.key_group, self.value_group, self.recent, self.sink,
            self.capacity,
        )  # fmt: skip

    def _append_in_graph(
        self,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: torch.Tensor | None,
        order: torch.Tensor | None,
        kv_bounds: torch.Tensor | None,
    ) -> None:
        """:meth:`append` under ``torch.compile``: makes memory here, and does everything else
        inside an operator, whose graph fits every length."""
        where, memory, capacity = "KVCache.append", self._memory, self.capacity
        assert capacity is not None
        self._check_states(where, k, v, order)
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError(f"{where}: expected k and v without grad: a cache is not a graph")
        # What the operator writes over is a copy; the rest is written where nobody reads yet. So a
        # graph that fails, here or later, leaves the cache as it was.
        bounds = memory.bounds if kv_bounds is None else kv_bounds
        if bounds is not None:
            bounds = _checks.kv_bounds(where, bounds, k.shape[0], k.device).clone()
        kept = memory.positions
        if self.rope is not None:
            three = positions is not None and positions.dim() == 3
            if kept is None or (three and kept.dim() == 2):
                kept = memory.reserve_positions(k, three, capacity, capacity)
        buffers = memory.buffers or memory.reserve(where, k, capacity)
        if self.bits != 16:
            rows = {name: buffers[name].clone() for name in ROWS}
            buffers = {**buffers, **rows}
        first = memory.first
        if self._format.slots:
            first = self._no_first(k) if first is None else first.clone()
        assert memory.place is not None
        place = memory.place.clone()
        self._memory = Memory(self._format, buffers, kept, bounds, first, None, place)
        ops.kv_cache_append(k, v, positions, order, kv_bounds, *self.graph_arguments())

    # ---- inside ----

    def _hold(
        self,
        buffers: dict[str, torch.Tensor],
        positions: torch.Tensor | None = None,
        bounds: torch.Tensor | None = None,
        counts: tuple[int, int] = (0, 0),
        first: torch.Tensor | None = None,
    ) -> None:
        place = None if self.capacity is None else torch.tensor(counts)
        self._memory = Memory(self._format, buffers, positions, bounds, first, counts, place)

    def _set_rope(self, rope: Rope | None) -> None:
        if rope is not None and not isinstance(rope, Rope):
            raise TypeError(f"KVCache: rope: expected a Rope, got {type(rope).__name__}")
        if self.rotate == "on_read":
            if rope is None:
                raise ValueError('KVCache: rope: expected a Rope with rotate="on_read", got None')
            if rope.rotary_dim % 4:
                raise ValueError(
                    'KVCache: rope: rotate="on_read" expects a rotary_dim that is a multiple of 4, '
                    f"got {rope.rotary_dim}"
                )
        # a copy: cached keys were rotated by these frequencies, whatever happens to the caller's
        self.rope = None if rope is None else replace(rope, inv_freq=rope.inv_freq.clone())

    def _check_states(
        self, where: str, k: torch.Tensor, v: torch.Tensor, order: torch.Tensor | None
    ) -> int:
        """How many tokens they bring."""
        shape = _checks.states(where, "k", k, "[B, Hkv, S, D]")
        v_shape = _checks.states(where, "v", v, "[B, Hkv, S, D]")
        if v.dtype != k.dtype:
            raise TypeError(f"{where}: v: expected k's {k.dtype}, got {v.dtype}")
        _checks.same_device(where, "v", v, "k", k)
        if v_shape != shape:
            raise ValueError(f"{where}: v: expected k's {list(shape)}, got {list(v_shape)}")
        if self.bits != 16 and shape[3] % reference_kv.LANES:
            raise ValueError(
                f"{where}: k: expected a head_dim that is a multiple of {reference_kv.LANES} with "
                f"bits={self.bits}, got {shape[3]}; use bits=16"
            )
        if self._buffers:
            rows = self._buffers["k_rows"]
            if k.dtype != rows.dtype:
                raise TypeError(f"{where}: k: expected the cache's {rows.dtype}, got {k.dtype}")
            _checks.same_device(where, "k", k, "the cache", rows)
            batch, heads, _, dim = rows.shape
            if shape[0] != batch or shape[1] != heads or shape[3] != dim:
                raise ValueError(
                    f"{where}: k: expected the cache's batch, heads and head_dim "
                    f"{[batch, heads, dim]}, got {list(shape)}"
                )
        if order is None:
            return shape[2]
        return _checks.order(where, order, k.shape[0], "k", k).shape[-1]

    def _next_bounds(
        self, where: str, kv_bounds: torch.Tensor | None, k: torch.Tensor, count: int
    ) -> torch.Tensor | None:
        if kv_bounds is not None:
            _checks.kv_bounds(where, kv_bounds, k.shape[0], k.device)
            return kv_bounds.clone(memory_format=torch.contiguous_format)
        if self._memory.bounds is None:
            return None
        lo, hi = self._memory.bounds.unbind(1)
        return torch.stack((lo, torch.where(hi == self.length, hi + count, hi)), dim=1)

    def _next_first(
        self, bounds: torch.Tensor | None, k: torch.Tensor, begin: int, end: int
    ) -> torch.Tensor | None:
        """The first real token of each row, which may be among the new ones."""
        if not self._format.slots:
            return None
        first = self._memory.first
        if bounds is None and begin > 0:
            return first
        first = self._no_first(k) if first is None else first
        if bounds is None:
            return first if end == begin else torch.zeros_like(first)
        lo, hi = bounds[:, 0].clamp(min=begin), bounds[:, 1].clamp(max=end)
        return torch.where((first == reference_kv.NO_TOKEN) & (lo < hi), lo, first)

    @staticmethod
    def _no_first(k: torch.Tensor) -> torch.Tensor:
        return k.new_full((k.shape[0],), reference_kv.NO_TOKEN, dtype=torch.int32)

    def _with_positions(
        self, positions: torch.Tensor, k: torch.Tensor, begin: int, end: int
    ) -> torch.Tensor:
        """Those of the first ``begin`` tokens, and then these."""
        kept = self._memory.positions
        three = positions.dim() == 3 or (begin > 0 and kept is not None and kept.dim() == 3)
        kept = self._memory.reserve_positions(k, three, begin, end)
        kept[..., begin:end] = positions
        return kept

    def _load(self, where: str, state: dict[str, Any], counts: tuple[int, int]) -> None:
        """Into an empty cache."""
        length = counts[0]
        like = _checks.tensor(where, "tensors['k_rows']", state["tensors"].get("k_rows"))
        if like.dim() != 4:
            raise ValueError(
                f"{where}: tensors['k_rows']: expected [B, Hkv, S, D], got {list(like.shape)}"
            )
        _checks.tensor(where, "tensors['k_rows']", like, _checks.FLOATS)
        self._hold({}, counts=counts)
        self._hold(self._memory.reserve(where, like, length), counts=counts)
        for name, x in self._memory.used().items():
            self._load_tensor(where, f"tensors[{name!r}]", state["tensors"].get(name), x)
        positions, bounds, first = state["positions"], state["bounds"], state["first"]
        if positions is not None and self.rope is not None:
            _checks.positions(where, positions, like.shape[0], length, self.rope, "k_rows", like)
            positions = self._with_positions(positions, like, 0, length)
        if bounds is not None:
            _checks.kv_bounds(where, bounds, like.shape[0], like.device)
            bounds = bounds.clone()
        if self._format.slots:
            loaded = self._no_first(like)
            self._load_tensor(where, "first", first, loaded)
            first = loaded
            known = (first >= 0) & ((first < length) | (first == reference_kv.NO_TOKEN))
            if not bool(known.all()):
                raise ValueError(
                    f"{where}: first: expected tokens 0 to {length - 1}, or "
                    f"{reference_kv.NO_TOKEN} for a row without one, got {first.tolist()}"
                )
        elif first is not None:
            raise ValueError(f"{where}: first: expected None without a sink")
        self._memory = replace(self._memory, positions=positions, bounds=bounds, first=first)

    @staticmethod
    def _load_tensor(where: str, name: str, x: object, to: torch.Tensor) -> None:
        given = _checks.tensor(where, name, x, (to.dtype,))
        if given.shape != to.shape:
            raise ValueError(f"{where}: {name}: expected {list(to.shape)}, got {list(given.shape)}")
        to.copy_(given)
