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
BUFFERS = ("k_codes", "v_codes", "k_ranges", "v_ranges", "k_rows", "v_rows")
GROWTH = 1.25  # of what is reserved: a token is copied 4 times on average, 1/5 is unused at most
ROOM = 256  # tokens in full precision that a first append leaves room for: an answer


@dataclass(frozen=True)
class Format:
    """What decides the sizes of the buffers (see :class:`intp_ext.KVCache`)."""

    bits: int
    key_group: int
    value_group: int
    capacity: int | None

    def packed(self, length: int) -> int:
        """Of that many tokens, those in whole groups."""
        return 0 if self.bits == 16 else length // self.key_group * self.key_group

    def shapes(self, pages: int, rows: int, dim: int) -> dict[str, tuple[int, ...]]:
        """Of each buffer, after its first dimensions ``[B, Hkv]``."""
        groups = pages * PAGE // self.key_group
        code_bytes = PAGE * dim * self.bits // 8
        return {
            "k_codes": (pages, code_bytes),
            "v_codes": (pages, code_bytes),
            "k_ranges": (groups, 2, dim),
            "v_ranges": (pages, -(-dim // self.value_group), 2, PAGE),
            "k_rows": (rows, dim),
            "v_rows": (rows, dim),
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
        known_length: tokens; None after a graph wrote, and ``place`` knows.
        place: int64 ``[]`` on the CPU, with a capacity: the length, for a graph to read.
    """

    format: Format
    buffers: dict[str, torch.Tensor]
    positions: torch.Tensor | None = None
    bounds: torch.Tensor | None = None
    known_length: int | None = 0
    place: torch.Tensor | None = None

    @property
    def length(self) -> int:
        if self.known_length is not None:
            return self.known_length
        assert self.place is not None
        return int(self.place)

    @property
    def packed(self) -> int:
        return self.format.packed(self.length)

    def used_positions(self) -> torch.Tensor | None:
        return None if self.positions is None else self.positions[..., : self.length]

    def used(self) -> dict[str, torch.Tensor]:
        """The buffers, without what is only reserved."""
        if not self.buffers:
            return {}
        length = self.length
        packed = self.format.packed(length)
        pages, groups = packed // PAGE, packed // self.format.key_group
        ends = {"k_ranges": groups, "k_rows": length - packed, "v_rows": length - packed}
        return {name: x[:, :, : ends.get(name, pages)] for name, x in self.buffers.items()}

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v ``[B, Hkv, length - packed, D]`` in full precision, as views."""
        length = self.length
        end = length - self.format.packed(length)
        return self.buffers["k_rows"][:, :, :end], self.buffers["v_rows"][:, :, :end]

    def dequantize(self, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """k and v of the groups ``begin`` to ``end``, in the dtype of the rows."""
        x, form = self.buffers, self.format
        rows = x["k_rows"]
        pages = slice(*(group * form.key_group // PAGE for group in (begin, end)))
        key_places = reference_kv.key_places(form.bits, rows.shape[3])
        value_places = reference_kv.value_places(form.bits, rows.shape[3])
        k = reference_kv.unpack(x["k_codes"][:, :, pages], form.bits, key_places)
        v = reference_kv.unpack(x["v_codes"][:, :, pages], form.bits, value_places)
        k_ranges, v_ranges = x["k_ranges"][:, :, begin:end], x["v_ranges"][:, :, pages]
        k = reference_kv.dequantize_keys(k, k_ranges, form.key_group)
        v = reference_kv.dequantize_values(v, v_ranges, form.value_group)
        return k.to(rows.dtype), v.to(rows.dtype)

    def reserve(self, where: str, k: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        """Buffers for ``length`` tokens like ``k [B, Hkv, S, D]``, in which an append writes only
        where nothing is read yet: those there are, or others with their content.

        Raises:
            ValueError: no memory for ``capacity`` tokens.
        """
        form, buffers = self.format, self.buffers
        size = length if form.capacity is None else form.capacity
        pages, rows = 0, form.key_group
        if form.bits == 16:
            rows = size
            enough = bool(buffers) and buffers["k_rows"].shape[2] >= rows
        else:
            pages = form.packed(size) // PAGE
            enough = bool(buffers) and buffers["k_codes"].shape[2] >= pages
        if enough and _checks.may_write(buffers["k_rows"]):
            # a group that is complete makes room for the tokens after it, in the rows it came from
            complete = form.packed(length) > self.packed
            overwritten = complete and self.length > self.packed
            return self.with_rows(self.rows()) if overwritten else buffers
        if form.capacity is None:
            if not buffers:
                rows += ROOM * (form.bits == 16)
            else:
                rows = max(rows, int(buffers["k_rows"].shape[2] * GROWTH) * (form.bits == 16))
                pages = max(pages, int(buffers["k_codes"].shape[2] * GROWTH))
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
        """The buffers, with k and v ``[B, Hkv, T, D]`` in memory of their own as the first rows."""
        buffers = dict(self.buffers)
        for name, x in zip(("k_rows", "v_rows"), rows, strict=True):
            buffers[name] = torch.empty_like(buffers[name])
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
        )
