"""The memory of a :class:`intp_ext.KVCache`: its buffers, their sizes, and what of them is in use.

Nothing here is changed where somebody reads: what an append or a crop needs is prepared beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from . import _checks, reference_kv

PAGE = reference_kv.PAGE
PAGES = ("k_codes", "v_codes", "k_ranges", "v_ranges")
ROWS = ("k_rows", "v_rows")
SINKS = ("k_sinks", "v_sinks")
BUFFERS = (*PAGES, *ROWS, *SINKS)
GROWTH = 1.25  # of what is reserved: a token is copied 4 times on average, 1/5 is unused at most
ROOM = 256  # tokens in full precision that a first append leaves room for: an answer


@dataclass(frozen=True)
class Format:
    """What decides the sizes of the buffers (see :class:`intp_ext.KVCache`)."""

    bits: float
    key_group: int
    value_group: int
    capacity: int | None
    recent: int = 0
    sink: int = 0

    @property
    def key_bits(self) -> int:
        return 16 if self.bits == 16 else reference_kv.WIDTHS[self.bits][0]

    @property
    def value_bits(self) -> int:
        return 16 if self.bits == 16 else reference_kv.WIDTHS[self.bits][1]

    @property
    def slots(self) -> int:
        """For the sink, beside the pages."""
        return 0 if self.bits == 16 else self.sink

    def packed(self, length: int, before: int = 0) -> int:
        """Tokens in pages once there are ``length``, of which ``before`` were already."""
        if self.bits == 16:
            return 0
        return reference_kv.packed_tokens(length, self.key_group, self.recent, before)

    def rows(self, length: int) -> int:
        """The most tokens in full precision that a cache of up to ``length`` has."""
        return length if self.bits == 16 else min(length, self.recent + self.key_group)

    def shapes(self, pages: int, rows: int, dim: int) -> dict[str, tuple[int, ...]]:
        """Of each buffer, after its first dimensions ``[B, Hkv]``."""
        groups = pages * PAGE // self.key_group
        return {
            "k_codes": (pages, PAGE * dim * self.key_bits // 8),
            "v_codes": (pages, PAGE * dim * self.value_bits // 8),
            "k_ranges": (groups, 2, dim),
            "v_ranges": (pages, -(-dim // self.value_group), 2, PAGE),
            "k_rows": (rows, dim),
            "v_rows": (rows, dim),
            "k_sinks": (self.slots, dim),
            "v_sinks": (self.slots, dim),
        }


@dataclass(frozen=True)
class Memory:
    """Everything that a cache holds. A change is prepared beside it and then put in its place by
    one assignment: what fails or is interrupted before has changed nothing.

    Attributes:
        format: of the buffers.
        buffers: by their names in ``BUFFERS``; empty before the first append.
        positions: float32 ``[B, R]`` or ``[3, B, R]``, where there is a rope.
        bounds: int32 ``[B, 2]``: the tokens that are not padding; None if no token is.
        first: int32 ``[B]``: the first real token of each row, where its sink begins; ``NO_TOKEN``
            where there is none. None where nothing was appended, and without a sink.
        known: tokens, and those of them in pages; None after a graph wrote, and ``place`` knows.
        place: int64 ``[2]`` on the CPU, with a capacity: both, for a graph to read.
    """

    format: Format
    buffers: dict[str, torch.Tensor]
    positions: torch.Tensor | None = None
    bounds: torch.Tensor | None = None
    first: torch.Tensor | None = None
    known: tuple[int, int] | None = (0, 0)
    place: torch.Tensor | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Tokens, and those of them in pages."""
        if self.known is not None:
            return self.known
        assert self.place is not None
        length, packed = self.place.tolist()
        return length, packed

    @property
    def length(self) -> int:
        return self.counts[0]

    @property
    def packed(self) -> int:
        return self.counts[1]

    def used_positions(self) -> torch.Tensor | None:
        return None if self.positions is None else self.positions[..., : self.length]

    def used(self) -> dict[str, torch.Tensor]:
        """The buffers, without what is only reserved."""
        if not self.buffers:
            return {}
        length, packed = self.counts
        pages, groups = packed // PAGE, packed // self.format.key_group
        ends = {"k_ranges": groups}
        ends.update(dict.fromkeys(ROWS, length - packed))
        ends.update(dict.fromkeys(SINKS, min(self.format.slots, length)))
        return {name: x[:, :, : ends.get(name, pages)] for name, x in self.buffers.items()}

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length - packed, D]`` in full precision, as views."""
        length, packed = self.counts
        end = length - packed
        return self.buffers["k_rows"][:, :, :end], self.buffers["v_rows"][:, :, :end]

    def first_before(self, length: int) -> torch.Tensor | None:
        """``first``, of that many tokens."""
        if self.first is None:
            return None
        return self.first.masked_fill(self.first >= length, reference_kv.NO_TOKEN)

    def sinks(self) -> dict[str, torch.Tensor]:
        """Those of the slots that hold a token; the others are zero."""
        if self.first is None:
            return {}
        used = self.used()
        slots = torch.arange(used["k_sinks"].shape[2], device=self.first.device)
        held = slots < (self.length - self.first)[:, None]
        return {name: used[name].where(held[:, None, :, None], 0.0) for name in SINKS}

    def sink_positions(self) -> torch.Tensor | None:
        """float32 ``[B, slots]`` or ``[3, B, slots]``, arbitrary for slots without a token."""
        positions = self.used_positions()
        if positions is None or self.first is None:
            return None
        slots = torch.arange(self.format.slots, device=self.first.device)
        tokens = (self.first[:, None] + slots).clamp(max=self.length - 1)
        return positions.gather(-1, tokens.expand(*positions.shape[:-1], -1))

    def moves_rows(self, length: int) -> bool:
        """Does an append up to ``length`` pack tokens that are rows? The others then move."""
        now, packed = self.counts
        return now > packed and self.format.packed(length, packed) > packed

    def dequantize(self, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v of the groups ``begin`` to ``end``, in the dtype of the rows; sinks are exact."""
        x, form = self.buffers, self.format
        rows = x["k_rows"]
        pages = slice(*(group * form.key_group // PAGE for group in (begin, end)))
        key_places = reference_kv.key_places(form.key_bits, rows.shape[3])
        value_places = reference_kv.value_places(form.value_bits, rows.shape[3])
        k = reference_kv.unpack(x["k_codes"][:, :, pages], form.key_bits, key_places)
        v = reference_kv.unpack(x["v_codes"][:, :, pages], form.value_bits, value_places)
        k_ranges, v_ranges = x["k_ranges"][:, :, begin:end], x["v_ranges"][:, :, pages]
        k = reference_kv.dequantize_keys(k, k_ranges, form.key_group)
        v = reference_kv.dequantize_values(v, v_ranges, form.value_group)
        k, v = k.to(rows.dtype), v.to(rows.dtype)
        if self.first is None:
            return k, v
        tokens = torch.arange(
            begin * form.key_group, end * form.key_group, device=self.first.device
        )
        slots = (tokens - self.first[:, None]).clamp(0, form.slots - 1)[:, None, :, None]
        is_sink = reference_kv.is_sink(tokens, self.first, form.slots)[:, None, :, None]
        k, v = (
            y.where(~is_sink, x[name].gather(2, slots.expand_as(y)))
            for name, y in zip(SINKS, (k, v), strict=True)
        )
        return k, v

    def reserve(self, where: str, k: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        """Buffers for ``length`` tokens like ``k [B, Hkv, S, D]``, in which an append writes only
        where nothing is read yet, if no rows move: those there are, or others with their content.

        Raises:
            ValueError: no memory for ``capacity`` tokens.
        """
        form, buffers = self.format, self.buffers
        size = length if form.capacity is None else form.capacity
        rows, pages = form.rows(size), form.packed(size, self.packed) // PAGE
        if buffers:
            had_rows, had_pages = (buffers[name].shape[2] for name in ("k_rows", "k_codes"))
            if had_rows >= rows and had_pages >= pages and _checks.may_write(buffers["k_rows"]):
                return buffers
        if form.capacity is None:
            if not buffers:
                rows = form.rows(length + ROOM)
            else:
                rows = form.rows(max(length, int(had_rows * GROWTH)))
                pages = max(pages, int(had_pages * GROWTH))
                pages = -(-pages * PAGE // form.key_group) * form.key_group // PAGE
        shapes = form.shapes(pages, rows, k.shape[3])
        dtypes = {name: torch.uint8 if name.endswith("codes") else k.dtype for name in shapes}
        larger = {}
        try:
            for name, shape in shapes.items():
                larger[name] = k.new_empty((*k.shape[:2], *shape), dtype=dtypes[name])
        except (RuntimeError, OverflowError, TypeError) as error:  # by how large it is
            if form.capacity is None:
                raise
            heads = k.shape[0] * k.shape[1]
            need = sum(heads * math.prod(shapes[name]) * dtypes[name].itemsize for name in shapes)
            raise ValueError(
                f"{where}: capacity: expected one that there is memory for, got {form.capacity} "
                f"tokens [{k.shape[0]}, {k.shape[1]}, {form.capacity}, {k.shape[3]}] of "
                f"{form.bits} bits: {need:,} bytes"
            ) from error
        for name, x in self.used().items():
            larger[name][:, :, : x.shape[2]] = x
        return larger

    def with_rows(self, rows: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The buffers, with memory of their own for rows, of which k and v ``[B, Hkv, T, D]`` are
        the first; none are given: it is empty."""
        buffers = {**self.buffers, **{name: torch.empty_like(self.buffers[name]) for name in ROWS}}
        for name, x in zip(ROWS, rows, strict=False):
            buffers[name][:, :, : x.shape[2]] = x
        return buffers

    def reserve_positions(
        self, like: torch.Tensor, three: bool, begin: int, end: int
    ) -> torch.Tensor:
        """float32 ``[B, R]`` or, for ``three`` axes, ``[3, B, R]`` with room for ``end``, where
        those of the first ``begin`` tokens stand: the memory there is, or a larger one."""
        kept, batch = self.positions, like.shape[0]
        lead = (3, batch) if three else (batch,)
        if (
            kept is not None
            and kept.shape[:-1] == lead
            and kept.shape[-1] >= end
            and _checks.may_write(kept)
        ):
            return kept
        grown = end if kept is None else int(end * GROWTH)
        size = self.format.capacity or max(end, grown)
        larger = like.new_empty((*lead, size), dtype=torch.float32)
        if kept is not None and begin:
            larger[..., :begin] = kept[..., :begin]
        return larger

    def index(self, rows: torch.Tensor) -> Memory:
        """Row b becomes what row ``rows[b]`` is."""
        positions, bounds = self.positions, self.bounds
        return replace(
            self,
            buffers={name: x.index_select(0, rows) for name, x in self.buffers.items()},
            positions=None if positions is None else positions.index_select(-2, rows),
            bounds=None if bounds is None else bounds.index_select(0, rows),
            first=None if self.first is None else self.first.index_select(0, rows),
        )
