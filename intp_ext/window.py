"""Which keys a query sees: the window that a caller writes, and the bounds that kernels read."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from . import _checks

RowIndex = int | torch.Tensor
Columns = tuple[RowIndex, RowIndex, RowIndex, RowIndex, RowIndex]

# Columns of the int32 [B, 5] tensor that holds what differs between the rows of a batch
# (csrc/common/visibility.h).
LO, HI, Q_OFFSET, BLOCK_START, DENSE_FROM = range(5)
NEVER_DENSE = 2**31 - 1
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Window:
    """Which earlier keys a query sees, besides the causal rule.

    Query i sees key j <= i when one of these holds, where lo is the first key of the row::

        blk(j) > blk(i) - size        blk(x) = floor((x - block_start) / block)
        j - lo < sink                 attention sink: the first tokens of the row
        i >= dense_from               dense rows: they see every key

    With ``first_key`` the first of these is ``j >= first_key[b, r]``, where r is the query's row in
    the call: a window that no count of blocks describes, such as frames with text between them.

    With ``block=1`` this is the usual sliding window, ``i - j < size`` (Mistral, Longformer); with
    ``block = tokens_per_frame`` and ``block_start`` at the first visual token it counts whole
    frames. The sink is that of StreamingLLM (Xiao et al., arXiv 2309.17453).

    Args:
        size: blocks a query sees, its own included; at least 1. Either it or ``first_key``.
        block: tokens in one block; at least 1.
        block_start: absolute key index at which a block begins; an int, or int32 ``[B]`` if rows
            differ (left padding).
        sink: tokens at the start of the row that every query sees; at least 0.
        dense_from: absolute index of the first dense query; an int, int32 ``[B]``, or None for
            none.
        first_key: int32 ``[1 or B, Sq]``: the absolute index of the first key that each query row
            sees, in any order. Below 0 it is every key; beyond the query, the sink alone. Where it
            is beyond some queries, keys that no query sees may be read, and must be finite.

    Raises:
        TypeError: an argument is not an int (or, where allowed, not an int32 tensor).
        ValueError: an argument is out of range, or a tensor has other dimensions; size and
            first_key are both given, or neither; a block is given with first_key.
    """

    size: int | None = None
    block: int = 1
    block_start: RowIndex = 0
    sink: int = 0
    dense_from: RowIndex | None = None
    first_key: torch.Tensor | None = None

    def __post_init__(self) -> None:
        _check_sizes("Window", self.size, self.block, self.sink)
        _check_first_key("Window", self.first_key, self.size)
        if self.size is None and self.first_key is None:
            raise ValueError("Window: size: expected it or first_key, got neither")
        if self.first_key is not None and (self.block != 1 or not _is_zero(self.block_start)):
            raise ValueError(
                f"Window: block: expected no blocks with first_key, got block {self.block}, "
                f"block_start {self.block_start}"
            )
        for name in ("block_start", "dense_from"):
            value = getattr(self, name)
            if isinstance(value, torch.Tensor):
                if value.dtype != torch.int32:
                    raise TypeError(
                        f"Window: {name}: expected an int or int32 [B], got {value.dtype}"
                    )
                if value.dim() != 1:
                    raise ValueError(f"Window: {name}: expected shape [B], got {list(value.shape)}")
            elif value is None and name == "dense_from":
                continue
            elif isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(
                    f"Window: {name}: expected an int or int32 [B], got {type(value).__name__}"
                )


def _check_sizes(where: str, size: object, block: object, sink: object) -> None:
    for name, value, least in (("size", size, 1), ("block", block, 1), ("sink", sink, 0)):
        if type(value) is int and least <= value < 2**63:
            continue
        if value is None and name == "size":
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{where}: {name}: expected an int, got {type(value).__name__}")
        if value < least:
            raise ValueError(f"{where}: {name}: expected at least {least}, got {value}")
        if value >= 2**63:
            raise ValueError(f"{where}: {name}: expected less than 2^63, got {value}")


def _is_zero(value: RowIndex) -> bool:
    return not isinstance(value, torch.Tensor) and value == 0


def _check_first_key(where: str, first_key: object, size: int | None) -> None:
    if first_key is None:
        return
    first_key = _checks.tensor(where, "first_key", first_key, (torch.int32,))
    if first_key.dim() != 2 or not _checks.has_unit_stride(first_key):
        raise ValueError(
            f"{where}: first_key: expected [1 or B, Sq] with unit stride in Sq, got "
            f"{list(first_key.shape)}, strides {list(first_key.stride())}"
        )
    if size is not None:
        raise ValueError(f"{where}: first_key: expected none with size, got both")


@dataclass(frozen=True, eq=False)
class Bounds:
    """A :class:`Window` with the numbers of every row of a batch on the device.

    :func:`intp_ext.attention` makes one from its arguments at every call. A model makes one per
    pass, with :meth:`of`, and gives it to all its layers: ``attention(q, k, v, bounds=bounds)``.

    Args:
        rows: int32 ``[B, 5]``: lo and hi (keys ``lo <= j < hi`` are not padding), the absolute
            index of query row 0, ``block_start`` and ``dense_from`` of the window.
        size: blocks a query sees; None for full causal attention, or with ``first_key``.
        block, sink: of the window.
        first_key: of the window, int32 ``[1 or B, Sq]``.

    Raises:
        TypeError: a tensor is not int32, or a size is not an int.
        ValueError: ``rows`` is not ``[B, 5]`` and contiguous, ``first_key`` has other dimensions, a
            size is out of range, or size and first_key are both given.
    """

    rows: torch.Tensor
    size: int | None = None
    block: int = 1
    sink: int = 0
    first_key: torch.Tensor | None = None

    def __post_init__(self) -> None:
        rows = _checks.tensor("Bounds", "rows", self.rows, (torch.int32,))
        if rows.dim() != 2 or rows.shape[1] != 5 or not rows.is_contiguous():
            raise ValueError(
                f"Bounds: rows: expected contiguous [B, 5], got {list(rows.shape)}, strides "
                f"{list(rows.stride())}"
            )
        _check_sizes("Bounds", self.size, self.block, self.sink)
        _check_first_key("Bounds", self.first_key, self.size)

    @classmethod
    def of(
        cls,
        window: Window | None,
        *,
        batch: int,
        queries: int,
        keys: int,
        device: torch.device,
        q_offset: RowIndex = 0,
        kv_bounds: torch.Tensor | None = None,
        where: str = "Bounds.of",
    ) -> Bounds:
        """The bounds of ``queries`` query rows over ``keys`` keys; never waits for a device.

        Args:
            window, q_offset, kv_bounds: as :func:`intp_ext.attention` takes them.
            batch, queries, keys: sizes.
            device: where the bounds are made.
            where: begins the message of an error.

        Raises:
            TypeError, ValueError: an argument of another type, shape or device, or out of range.
        """
        _check_window(where, window, batch, queries, device)
        _check_offset(where, q_offset, batch, queries, keys, device)
        lo: RowIndex = 0
        hi: RowIndex = keys
        if kv_bounds is not None:
            lo, hi = _checks.kv_bounds(where, kv_bounds, batch, device).unbind(1)
        rows = pack_rows(window, lo, hi, q_offset, batch, device)
        return cls(rows, *sizes_of(window), None if window is None else window.first_key)

    @classmethod
    def of_call(
        cls,
        window: Window | None,
        q: torch.Tensor,
        keys: int,
        q_offset: RowIndex,
        kv_bounds: torch.Tensor | None,
        where: str,
    ) -> Bounds:
        """:meth:`of` queries ``[B, Hq, Sq, D]``, for a call that hands them to nobody: calls of the
        same sizes share them, where nothing differs between the rows of the batch."""
        batch, _, queries, _ = q.shape
        device = q.device
        _check_window(where, window, batch, queries, device)
        if kv_bounds is None and device == CPU and (window is None or window.first_key is None):
            _check_offset(where, q_offset, batch, queries, keys, device)
            columns = _columns(window, 0, keys, q_offset)
            if _are_ints(batch, *columns) and _makes_plain_tensors():
                return _shared(columns, batch, sizes_of(window))
        return cls.of(
            window,
            batch=batch,
            queries=queries,
            keys=keys,
            device=device,
            q_offset=q_offset,
            kv_bounds=kv_bounds,
            where=where,
        )


def _makes_plain_tensors() -> bool:
    """Whether a tensor that is made now may be kept: nothing compiles, records or wraps it."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
    )


@functools.lru_cache(maxsize=64)
def _shared(columns: Columns, batch: int, sizes: tuple[int | None, int, int]) -> Bounds:
    with torch.inference_mode(False):  # autograd keeps no tensor of inference mode
        return Bounds(_pack(columns, batch, CPU), *sizes)


def sizes_of(window: Window | Bounds | None) -> tuple[int | None, int, int]:
    """Size, block and sink; those of full causal attention without a window."""
    return (None, 1, 0) if window is None else (window.size, window.block, window.sink)


def check_bounds(where: str, bounds: object, q: torch.Tensor, **others: object) -> None:
    """Raise unless ``bounds`` fit queries ``[B, Hq, Sq, D]`` and stand alone: the other arguments
    of a call that say what is seen are None."""
    if not isinstance(bounds, Bounds):
        raise TypeError(f"{where}: bounds: expected Bounds, got {type(bounds).__name__}")
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{where}: {name}: expected none with bounds, got {value}")
    if bounds.rows.shape[0] != q.shape[0]:
        raise ValueError(f"{where}: bounds: expected {q.shape[0]} rows, got {bounds.rows.shape[0]}")
    _checks.same_device(where, "bounds", bounds.rows, "q", q)
    _fit_first_key(f"{where}: bounds", bounds.first_key, q.shape[0], q.shape[2], q.device)


def pack_rows(
    window: Window | None,
    lo: RowIndex,
    hi: RowIndex,
    q_offset: RowIndex,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """The rows of :class:`Bounds`, int32 ``[B, 5]``, of ints and of tensors ``[]`` or ``[B]``;
    nothing is checked."""
    return _pack(_columns(window, lo, hi, q_offset), batch, device)


def _columns(window: Window | None, lo: RowIndex, hi: RowIndex, q_offset: RowIndex) -> Columns:
    if window is None:
        return lo, hi, q_offset, 0, NEVER_DENSE
    dense_from = NEVER_DENSE if window.dense_from is None else window.dense_from
    return lo, hi, q_offset, window.block_start, dense_from


def _are_ints(*values: RowIndex) -> bool:
    return {*map(type, values)} == {int}  # under torch.jit.trace, an int from a shape is a tensor


def _pack(columns: Columns, batch: int, device: torch.device) -> torch.Tensor:
    if device == CPU and _are_ints(*columns):
        row = torch.tensor([columns], dtype=torch.int32, device=device)
        return row if batch == 1 else row.repeat(batch, 1)

    def column(value: RowIndex) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            return value.to(device, torch.int32).expand(batch)
        return torch.full((batch,), value, dtype=torch.int32, device=device)

    return torch.stack([column(x) for x in columns], dim=1)


def _check_window(
    where: str, window: Window | None, batch: int, queries: int, device: torch.device
) -> None:
    if window is None:
        return
    if not isinstance(window, Window):
        raise TypeError(f"{where}: window: expected a Window, got {type(window).__name__}")
    for name in ("block_start", "dense_from"):
        value = getattr(window, name)
        _check_row_index(f"{where}: window.{name}", value, batch, device, scalar=False)
    _fit_first_key(f"{where}: window", window.first_key, batch, queries, device)


def _fit_first_key(
    name: str, first_key: torch.Tensor | None, batch: int, queries: int, device: torch.device
) -> None:
    if first_key is None:
        return
    if first_key.shape[0] not in (1, batch) or first_key.shape[1] != queries:
        raise ValueError(
            f"{name}.first_key: expected [1 or {batch}, {queries}], got {list(first_key.shape)}"
        )
    if first_key.device != device:
        raise ValueError(f"{name}.first_key: expected on {device}, got {first_key.device}")


def _check_offset(
    where: str,
    q_offset: int | torch.Tensor,
    batch: int,
    rows: int,
    keys: int,
    device: torch.device,
) -> None:
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return  # an int that comes from a shape is a tensor there
    if not isinstance(q_offset, int) or isinstance(q_offset, bool):
        return _check_row_index(f"{where}: q_offset", q_offset, batch, device, scalar=True)
    if q_offset < 0 or q_offset + rows > max(keys, rows):
        raise ValueError(
            f"{where}: q_offset: expected 0 to {max(keys - rows, 0)} "
            f"({rows} queries over {keys} keys), got {q_offset}"
        )


def _check_row_index(
    name: str, value: int | torch.Tensor | None, batch: int, device: torch.device, *, scalar: bool
) -> None:
    """An int, or an int32 tensor with one entry per row of the batch."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"{name}: expected an int32, got {value}")
        return
    if value is None:
        return
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int32:
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name}: expected an int or an int32 tensor, got {got}")
    if value.shape != (batch,) and not (scalar and value.dim() == 0):
        shapes = f"[] or [{batch}]" if scalar else f"[{batch}]"
        raise ValueError(f"{name}: expected shape {shapes}, got {list(value.shape)}")
    if value.device != device:
        raise ValueError(f"{name}: expected on {device}, got {value.device}")
