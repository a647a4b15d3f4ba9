"""The KV cache: 16 bits, or packed to 8, 4 or 2 and read in place by :func:`cached_attention`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from . import _checks, compiled_cache, reference_kv
from ._autograd import mark_written
from .rope import Rope

PAGE = reference_kv.PAGE
ROTATE = ("on_write", "on_read")
_BUFFERS = ("k_codes", "v_codes", "k_ranges", "v_ranges", "k_rows", "v_rows")
_OPTIONS = ("bits", "rotate", "key_group", "value_group")
GROWTH = 1.25  # of what is reserved: a token is copied 4 times on average, 1/5 is unused at most


class _Held(NamedTuple):
    """Everything that a cache holds. A change is prepared beside it, where nobody reads, and then
    put in its place by one assignment: what fails or is interrupted before has changed nothing."""

    buffers: dict[str, torch.Tensor]
    positions: torch.Tensor | None = None  # float32 [B, R] or [3, B, R]
    bounds: torch.Tensor | None = None  # int32 [B, 2]: what is no padding
    length: int | None = 0  # None: a graph wrote it, and `place` knows
    place: torch.Tensor | None = None  # int64 [] on the CPU, with a capacity: for a graph to read


class KVCache:
    """Keys and values of one attention layer, quantised as they come (KIVI, arXiv 2402.02750).

    A key has one scale and one zero for each channel over ``key_group`` tokens, a value one for
    each token over ``value_group`` channels, both in the dtype of the states; the zero is the
    smallest value, exact, and no value is off by more than half a step
    (:func:`intp_ext.reference_kv.quantize`). The newest tokens, up to ``key_group - 1``, stay in
    full precision until their group is complete, whatever the pieces in which they came.

    Equivalent eager PyTorch at 16 bits: ``k = torch.cat((k, new_k), dim=2)``, and the same for v.

    Tensors that are given are copied, and so are those that come out, but for the views that
    :meth:`rows` and :meth:`pages` are. A call that raises leaves the cache as it was.

    Args:
        bits: of a code: 2, 4 or 8; 16 stores keys and values as they are.
        rope: rotates keys by their positions; None: they come rotated already, or need no rotation.
        rotate: "on_write": keys are rotated once, when they are appended. "on_read": they are
            cached as they come and rotated while they are read, so that :meth:`set_rope` changes
            the rotation of everything cached.
        key_group: tokens, a multiple of 64.
        value_group: channels, a multiple of 16; the last group of a head may be narrower.
        capacity: most tokens it may hold, reserved at once; None: it grows by a quarter. Under
            ``torch.compile`` a cache with a capacity is compiled once for each shape of the new
            tokens; one that grows is compiled again as it grows.

    Attributes:
        bits, rope, rotate, key_group, value_group, capacity: as given.
        length: tokens in it, padding included.
        shape: ``(B, Hkv, length, D)``, or None before the first append.

    Raises:
        TypeError, ValueError: an argument out of range; the message names it.
    """

    def __init__(
        self,
        bits: int = 16,
        *,
        rope: Rope | None = None,
        rotate: str = "on_write",
        key_group: int = 64,
        value_group: int = 64,
        capacity: int | None = None,
    ) -> None:
        where = "KVCache"
        if _checks.integer(where, "bits", bits) not in (*reference_kv.BITS, 16):
            raise ValueError(f"{where}: bits: expected 2, 4, 8 or 16, got {bits!r}")
        if rotate not in ROTATE:
            raise ValueError(f"{where}: rotate: expected one of {ROTATE}, got {rotate!r}")
        for name, value, unit in (
            ("key_group", key_group, PAGE),
            ("value_group", value_group, reference_kv.LANES),
        ):
            if _checks.count(where, name, value) == 0 or value % unit:
                raise ValueError(f"{where}: {name}: expected a multiple of {unit}, got {value}")
        if capacity is not None:
            _checks.count(where, "capacity", capacity, least=1)
        self.bits, self.rotate = bits, rotate
        self.key_group, self.value_group, self.capacity = key_group, value_group, capacity
        self.rope: Rope | None = None
        self._hold({})
        self._set_rope(rope)

    def __repr__(self) -> str:
        kept = "empty" if self.shape is None else f"{list(self.shape)} {self.dtype}"
        return f"KVCache(bits={self.bits}, rotate={self.rotate!r}, {kept}, {self.nbytes} bytes)"

    # ---- what it holds ----

    @property
    def length(self) -> int:
        held = self._held
        return int(held.place) if held.length is None else held.length

    @property
    def _buffers(self) -> dict[str, torch.Tensor]:
        return self._held.buffers

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
        """Tokens in whole groups; those after them are in full precision."""
        return 0 if self.bits == 16 else self.length // self.key_group * self.key_group

    @property
    def positions(self) -> torch.Tensor | None:
        """float32 ``[B, length]``, or ``[3, B, length]``, where there is a rope."""
        kept = self._kept_positions()
        return None if kept is None else kept.clone()

    def _kept_positions(self) -> torch.Tensor | None:
        held = self._held
        return None if held.positions is None else held.positions[..., : self.length]

    @property
    def kv_bounds(self) -> torch.Tensor | None:
        """int32 ``[B, 2]``: tokens ``lo <= j < hi`` are no padding; None where none is."""
        bounds = self._held.bounds
        return None if bounds is None else bounds.clone()

    @property
    def nbytes(self) -> int:
        """Bytes in use: codes, scales, zeros, unfinished groups, positions and bounds."""
        used = (*self._used().values(), self._kept_positions(), self._held.bounds)
        return sum(x.numel() * x.element_size() for x in used if x is not None)

    @property
    def nbytes_allocated(self) -> int:
        """Bytes reserved."""
        held = self._held
        reserved = (*held.buffers.values(), held.positions, held.bounds)
        return sum(x.numel() * x.element_size() for x in reserved if x is not None)

    def _used(self) -> dict[str, torch.Tensor]:
        """The buffers, without what is only reserved."""
        if not self._buffers:
            return {}
        pages, groups = self.packed // PAGE, self.packed // self.key_group
        ends = {"k_ranges": groups, "k_rows": self.length - self.packed}
        ends["v_rows"] = ends["k_rows"]
        return {name: x[:, :, : ends.get(name, pages)] for name, x in self._buffers.items()}

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length - packed, D]`` of the tokens after ``packed``, as views."""
        end = self.length - self.packed
        return self._buffers["k_rows"][:, :, :end], self._buffers["v_rows"][:, :, :end]

    def pages(self) -> tuple[torch.Tensor, ...]:
        """Codes of keys and of values, scales and zeros of keys and of values: everything that is
        reserved."""
        return tuple(self._buffers[name] for name in _BUFFERS[:4])

    def dequantize(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length, D]`` in the dtype of the states, in new memory.

        For tests and for the curious. Keys are as they are cached: unrotated with
        ``rotate="on_read"``. Padding holds any finite numbers.

        Raises:
            ValueError: nothing was appended yet.
        """
        if not self._buffers:
            raise ValueError("KVCache.dequantize: expected tokens, got an empty cache")
        used = self._used()
        k, v = used["k_rows"], used["v_rows"]
        if not self.packed:
            return k.clone(), v.clone()
        packed_k, packed_v = self._dequantize_groups(0, self.packed // self.key_group)
        return torch.cat((packed_k, k), dim=2), torch.cat((packed_v, v), dim=2)

    def _dequantize_groups(self, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, dim = self._buffers, self._buffers["k_rows"].shape[3]
        pages = slice(*(group * self.key_group // PAGE for group in (begin, end)))
        key_places = reference_kv.key_places(self.bits, dim)
        value_places = reference_kv.value_places(self.bits, dim)
        k = reference_kv.unpack(x["k_codes"][:, :, pages], self.bits, key_places)
        v = reference_kv.unpack(x["v_codes"][:, :, pages], self.bits, value_places)
        k_ranges, v_ranges = x["k_ranges"][:, :, begin:end], x["v_ranges"][:, :, pages]
        k = reference_kv.dequantize_keys(k, k_ranges, self.key_group)
        v = reference_kv.dequantize_values(v, v_ranges, self.value_group)
        return k.to(self.dtype), v.to(self.dtype)

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
        """Cache new tokens, in one pass over k and v: gather, rotate, quantise, write.

        Args:
            k, v: ``[B, Hkv, S, D]`` float32, bfloat16 or float16, any strides with unit stride in
                D. The first ones decide batch, heads, head_dim, dtype and device.
            positions: of the new tokens, with a rope: int32, int64 or float32 ``[S]``, ``[1 or B,
                S]``, or ``[3, 1 or B, S]`` for M-RoPE, where one axis stands for three that agree;
                None: they follow the tokens that are in the cache. Kept as float32, exact below
                2^24.
            order: int32 or int64 ``[S']`` or ``[B, S']``: token i of what is cached is row
                ``order[i]`` of k and v; positions are those of the S' tokens. On CUDA a row that is
                not there is cached as zeros (:func:`intp_ext.validate` finds it).
            kv_bounds: int32 ``[B, 2]``, indices in the cache: tokens outside ``lo <= j < hi`` are
                padding, keep out of every scale and zero, and may hold anything. It holds for
                :func:`cached_attention` too, and is remembered: later tokens lengthen the rows that
                reached the end of the cache.

        Raises:
            TypeError: wrong type or dtype.
            ValueError: shapes, device or positions that do not fit, more tokens than ``capacity``,
                on the CPU infinities or NaN where codes are made of them. The cache is then as it
                was. On CUDA, where the host would have to wait to see them, such a group gets NaN
                for its scale and zero: attention that sees it gives NaN.
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
            if positions.dim() == 3 and self.rotate == "on_read":
                raise ValueError(
                    f'{where}: positions: expected one axis with rotate="on_read", got '
                    f'{list(positions.shape)}; use rotate="on_write" for M-RoPE'
                )
        bounds = self._next_bounds(where, kv_bounds, k, count)
        end = begin + count
        if self.capacity is not None and end > self.capacity:
            raise ValueError(
                f"{where}: expected at most {self.capacity} tokens (capacity), got "
                f"{self.length} and {count} more"
            )
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            raise ValueError(f"{where}: expected k and v without grad: a cache is not a graph")
        buffers = self._reserve(k, end)
        kept = None if rope is None else self._with_positions(positions, k, begin, end)
        write = rope if self.rotate == "on_write" else None
        sections = None if write is None or write.sections is None else list(write.sections)
        torch.ops.intp_ext.kv_append(
            k,
            v,
            None if write is None else positions,
            None if write is None else write.inv_freq.contiguous(),
            1.0 if write is None else write.attention_scaling,
            sections,
            write is not None and write.interleaved_sections,
            order,
            bounds,
            begin,
            self.bits,
            self.key_group,
            self.value_group,
            *(buffers[name] for name in _BUFFERS),
        )
        names = _BUFFERS if end // self.key_group > begin // self.key_group else _BUFFERS[4:]
        mark_written(*(buffers[name] for name in names))  # pages are written by whole groups
        self._hold(buffers, kept, bounds, end)

    def reorder(self, beam_idx: torch.Tensor) -> None:
        """Row b becomes what row ``beam_idx[b]`` was (beam search); rows may go, or repeat.

        Raises:
            TypeError, ValueError: no int32 or int64 ``[B']``, or a row that is not there.
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
        held = self._held
        self._hold(
            {name: x.index_select(0, index) for name, x in held.buffers.items()},
            None if held.positions is None else held.positions.index_select(-2, index),
            None if held.bounds is None else held.bounds.index_select(0, index),
            self.length,
        )

    def crop(self, length: int) -> None:
        """Forget all tokens from ``length`` on. Where that cuts a group, its remainder is
        dequantised, and quantised again when the group is complete again.

        Raises:
            TypeError, ValueError: no int, negative, or more than there are.
        """
        where = "KVCache.crop"
        if _checks.count(where, "length", length) > self.length:
            raise ValueError(f"{where}: length: expected at most {self.length}, got {length}")
        if length == self.length:
            return
        held, buffers = self._held, self._held.buffers
        group, rest = divmod(length, self.key_group)
        if length < self.packed and rest:
            remainder = self._dequantize_groups(group, group + 1)
            buffers = self._with_rows([x[:, :, :rest] for x in remainder])
        bounds = None if held.bounds is None else held.bounds.clamp(max=length)
        self._hold(buffers, held.positions, bounds, length)

    def mark(
        self, tokens: int | None = None
    ) -> tuple[int, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        """What :meth:`rewind` needs to forget the tokens that follow, to the bit: a copy of the
        unfinished group.

        Args:
            tokens: how many will follow at most; nothing is copied where they do not complete the
                group. None: any number.
        """
        left = self.key_group - self.length % self.key_group
        kept = self.bits == 16 or (tokens is not None and tokens < left)
        rows = [None, None] if kept or not self._buffers else [x.clone() for x in self.rows()]
        return (self.length, *rows, self.kv_bounds)

    def rewind(self, mark: tuple) -> None:
        """As it was at :meth:`mark`, where :meth:`crop` would dequantise a group. Tokens may have
        been appended since, and taken back as far as the mark; rows not reordered.

        Raises:
            ValueError: fewer tokens than there were, or another batch.
        """
        length, k, v, bounds = mark
        if length > self.length or (k is not None and k.shape[0] != self.shape[0]):
            raise ValueError(
                f"KVCache.rewind: expected at least {length} tokens of the same batch, got {self}"
            )
        self._hold(
            self._buffers if k is None else self._with_rows((k, v)),
            self._held.positions,
            None if bounds is None else bounds.clone(),
            length,
        )

    def reset(self) -> None:
        """Forget everything but the options; a fixed capacity stays reserved."""
        held = self._held
        self._hold(*(({},) if self.capacity is None else (held.buffers, held.positions)))

    def set_rope(self, rope: Rope) -> None:
        """Another rotation for everything that is cached (``rotate="on_read"``), and to come.

        Raises:
            TypeError: no Rope.
            ValueError: keys that were rotated when they were written.
        """
        if self.rotate == "on_write" and self.length:
            raise ValueError(
                'KVCache.set_rope: the cached keys are rotated already; use rotate="on_read", or '
                "set it before the first append"
            )
        if rope is None:
            raise TypeError("KVCache.set_rope: rope: expected a Rope, got None")
        self._set_rope(rope)

    def set_positions(self, positions: torch.Tensor) -> None:
        """Other positions for everything that is cached (``rotate="on_read"``).

        Args:
            positions: int32, int64 or float32 ``[length]`` or ``[1 or B, length]``.

        Raises:
            TypeError, ValueError: wrong dtype or shape, or keys that were rotated when written.
        """
        where = "KVCache.set_positions"
        if self.rotate != "on_read":
            raise ValueError(
                f'{where}: the cached keys are rotated already; use rotate="on_read" to move them'
            )
        held = self._held
        if held.positions is None:
            raise ValueError(f"{where}: expected tokens, got an empty cache")
        rows = held.buffers["k_rows"]
        _checks.positions(
            where, positions, rows.shape[0], self.length, self.rope, "the cache", rows
        )
        moved = torch.empty_like(held.positions)
        moved[:, : self.length] = positions
        self._held = held._replace(positions=moved)

    # ---- saving and loading ----

    def state_dict(self) -> dict[str, Any]:
        """Options, and tensors cut to what is in use: ``torch.save`` takes it."""
        state: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        state["length"] = self.length
        state["tensors"] = {name: x.clone() for name, x in self._used().items()}
        state["positions"], state["bounds"] = self.positions, self.kv_bounds
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the cache that ``state`` was taken from; the rope is not part of it.

        Raises:
            TypeError: no int, or no tensor, where one is expected, or one of another dtype.
            ValueError: other options, missing entries, shapes that do not fit, or more tokens than
                ``capacity``. The cache is then as it was.
        """
        where = "KVCache.load_state_dict"
        for name in (*_OPTIONS, "length", "tensors", "positions", "bounds"):
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
        loaded = KVCache(rope=self.rope, capacity=self.capacity, **{x: state[x] for x in _OPTIONS})
        if state["tensors"]:
            loaded._load(where, state, length)
        self._held = loaded._held

    # ---- inside ----

    def _hold(
        self,
        buffers: dict[str, torch.Tensor],
        positions: torch.Tensor | None = None,
        bounds: torch.Tensor | None = None,
        length: int = 0,
    ) -> None:
        place = None if self.capacity is None else torch.tensor(length)
        self._held = _Held(buffers, positions, bounds, length, place)

    def _append_in_graph(
        self,
        k: torch.Tensor,
        v: torch.Tensor,
        positions: torch.Tensor | None,
        order: torch.Tensor | None,
        kv_bounds: torch.Tensor | None,
    ) -> None:
        """:meth:`append` under ``torch.compile``: memory is made here, everything else is done
        inside an operator, whose graph fits every length."""
        where, held = "KVCache.append", self._held
        self._check_states(where, k, v, order)
        if kv_bounds is not None:
            _checks.kv_bounds(where, kv_bounds, k.shape[0], "k", k)
        kept = held.positions
        if self.rope is not None:
            three = positions is not None and positions.dim() == 3
            if kept is None or (three and kept.dim() == 2):
                lead = (3, k.shape[0]) if three else (k.shape[0],)
                larger = k.new_empty((*lead, self.capacity), dtype=torch.float32)
                kept = larger if kept is None else larger.copy_(kept)
        bounds = held.bounds if kv_bounds is None else kv_bounds.clone()
        buffers = held.buffers or self._reserve(k, self.capacity)
        self._held = _Held(buffers, kept, bounds, None, held.place)
        compiled_cache.append(self, k, v, positions, order, kv_bounds)

    def _set_rope(self, rope: Rope | None) -> None:
        if rope is not None and not isinstance(rope, Rope):
            raise TypeError(f"KVCache: rope: expected a Rope, got {type(rope).__name__}")
        if self.rotate == "on_read":
            if rope is None:
                raise ValueError('KVCache: rope: expected a Rope with rotate="on_read", got None')
            if rope.sections is not None or rope.rotary_dim % 4:
                raise ValueError(
                    'KVCache: rope: rotate="on_read" expects one axis and a rotary_dim that is a '
                    f"multiple of 4, got sections {rope.sections}, rotary_dim {rope.rotary_dim}"
                )
        # a copy: what is cached was rotated by these frequencies, whatever becomes of the caller's
        self.rope = None if rope is None else replace(rope, inv_freq=rope.inv_freq.clone())

    def _check_states(
        self, where: str, k: torch.Tensor, v: torch.Tensor, order: torch.Tensor | None
    ) -> int:
        """How many tokens they bring."""
        for name, x in (("k", k), ("v", v)):
            _checks.tensor(where, name, x, _checks.FLOATS)
            if x.dim() != 4:
                raise ValueError(f"{where}: {name}: expected [B, Hkv, S, D], got {list(x.shape)}")
            _checks.kernel_device(where, name, x)
            _checks.unit_stride(where, name, x)
        if v.dtype != k.dtype:
            raise TypeError(f"{where}: v: expected k's {k.dtype}, got {v.dtype}")
        _checks.same_device(where, "v", v, "k", k)
        if v.shape != k.shape:
            raise ValueError(f"{where}: v: expected k's {list(k.shape)}, got {list(v.shape)}")
        if self.bits != 16 and k.shape[3] % reference_kv.LANES:
            raise ValueError(
                f"{where}: k: expected a head_dim that is a multiple of {reference_kv.LANES} with "
                f"bits={self.bits}, got {k.shape[3]}; use bits=16"
            )
        if self._buffers:
            rows = self._buffers["k_rows"]
            if k.dtype != rows.dtype:
                raise TypeError(f"{where}: k: expected the cache's {rows.dtype}, got {k.dtype}")
            _checks.same_device(where, "k", k, "the cache", rows)
            expected = [rows.shape[0], rows.shape[1], k.shape[2], rows.shape[3]]
            if list(k.shape) != expected:
                raise ValueError(
                    f"{where}: k: expected the cache's batch, heads and head_dim "
                    f"{[*rows.shape[:2], rows.shape[3]]}, got {list(k.shape)}"
                )
        if order is None:
            return k.shape[2]
        return _checks.order(where, order, k.shape[0], "k", k).shape[-1]

    def _next_bounds(
        self, where: str, kv_bounds: torch.Tensor | None, k: torch.Tensor, count: int
    ) -> torch.Tensor | None:
        if kv_bounds is not None:
            _checks.kv_bounds(where, kv_bounds, k.shape[0], "k", k)
            return kv_bounds.clone(memory_format=torch.contiguous_format)
        if self._held.bounds is None:
            return None
        lo, hi = self._held.bounds.unbind(1)
        return torch.stack((lo, torch.where(hi == self.length, hi + count, hi)), dim=1)

    def _reserve(self, k: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        """Buffers for so many tokens, in which an append writes only where nothing is read yet:
        those there are, or others with their content."""
        size = length if self.capacity is None else self.capacity
        pages_in_group = self.key_group // PAGE
        dim, pages, rows = k.shape[3], 0, self.key_group
        if self.bits == 16:
            rows = size
            enough = self._buffers and self._buffers["k_rows"].shape[2] >= rows
        else:
            pages = size // self.key_group * pages_in_group
            enough = self._buffers and self._buffers["k_codes"].shape[2] >= pages
        if enough and _checks.may_write(self._buffers["k_rows"]):
            # a group that is complete makes room for the tokens after it, in the rows it came from
            complete = self.bits != 16 and length // self.key_group * self.key_group > self.packed
            overwritten = complete and self.length > self.packed
            return self._with_rows(self.rows()) if overwritten else self._buffers
        if self._buffers and self.capacity is None:
            rows = max(rows, int(self._buffers["k_rows"].shape[2] * GROWTH) * (self.bits == 16))
            pages = max(pages, int(self._buffers["k_codes"].shape[2] * GROWTH))
            pages = -(-pages // pages_in_group) * pages_in_group
        groups = pages // pages_in_group
        code_bytes = PAGE * dim * self.bits // 8
        shapes = {
            "k_codes": (pages, code_bytes),
            "v_codes": (pages, code_bytes),
            "k_ranges": (groups, 2, dim),
            "v_ranges": (pages, -(-dim // self.value_group), 2, PAGE),
            "k_rows": (rows, dim),
            "v_rows": (rows, dim),
        }
        larger = {}
        for name, shape in shapes.items():
            dtype = torch.uint8 if name.endswith("codes") else k.dtype
            larger[name] = k.new_empty((*k.shape[:2], *shape), dtype=dtype)
        for name, x in self._used().items():
            larger[name][:, :, : x.shape[2]] = x
        return larger

    def _with_rows(self, rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The buffers, with k and v ``[B, Hkv, T, D]`` in memory of their own as the first rows."""
        buffers = dict(self._buffers)
        for name, x in zip(("k_rows", "v_rows"), rows, strict=True):
            buffers[name] = torch.empty_like(buffers[name])
            buffers[name][:, :, : x.shape[2]] = x
        return buffers

    def _with_positions(
        self, positions: torch.Tensor, k: torch.Tensor, begin: int, end: int
    ) -> torch.Tensor:
        """Those of the first ``begin`` tokens, and then these: in the memory of those there are, or
        in a larger one."""
        kept = self._held.positions
        three = positions.dim() == 3 or (begin > 0 and kept.dim() == 3)
        lead = (3, k.shape[0]) if three else (k.shape[0],)
        enough = kept is not None and kept.shape[:-1] == lead and kept.shape[-1] >= end
        if not enough or not _checks.may_write(kept):
            size = self.capacity or max(end, int((0 if kept is None else end) * GROWTH))
            larger = k.new_empty((*lead, size), dtype=torch.float32)
            if begin:
                larger[..., :begin] = kept[..., :begin]
            kept = larger
        kept[..., begin:end] = positions
        return kept

    def _load(self, where: str, state: dict[str, Any], length: int) -> None:
        """Into an empty cache."""
        like = _checks.tensor(where, "tensors['k_rows']", state["tensors"].get("k_rows"))
        if like.dim() != 4:
            raise ValueError(
                f"{where}: tensors['k_rows']: expected [B, Hkv, S, D], got {list(like.shape)}"
            )
        _checks.tensor(where, "tensors['k_rows']", like, _checks.FLOATS)
        self._hold(self._reserve(like, length), length=length)
        for name, x in self._used().items():
            self._load_tensor(where, f"tensors[{name!r}]", state["tensors"].get(name), x)
        positions, bounds = state["positions"], state["bounds"]
        if positions is not None:
            _checks.positions(where, positions, like.shape[0], length, self.rope, "k_rows", like)
            positions = self._with_positions(positions, like, 0, length)
        if bounds is not None:
            _checks.kv_bounds(where, bounds, like.shape[0], "k_rows", like)
            bounds = bounds.clone()
        self._held = self._held._replace(positions=positions, bounds=bounds)

    @staticmethod
    def _load_tensor(where: str, name: str, x: object, to: torch.Tensor) -> None:
        _checks.tensor(where, name, x, (to.dtype,))
        if x.shape != to.shape:
            raise ValueError(f"{where}: {name}: expected {list(to.shape)}, got {list(x.shape)}")
        to.copy_(x)
