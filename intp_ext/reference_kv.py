"""What the low-bit KV cache means, in short eager PyTorch: the definition the kernels must meet.

A key is quantized per channel over groups of tokens, a value per token over groups of channels
(KIVI, Liu et al., arXiv 2402.02750), asymmetrically, against the scale and the zero that are
stored. Shapes: B batch, H key heads, S tokens, D head_dim; csrc/common/kv_page.h has the layout.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .reference import compute_dtype

WIDTHS = {2: (2, 2), 2.5: (3, 2), 3: (3, 3), 4: (4, 4), 8: (8, 8)}  # of keys and of values
BITS = tuple(WIDTHS)
PAGE = 64  # tokens
LANES = 16  # of a cell
NO_TOKEN = 2**31 - 1  # as a row's first real token, where it has none


def packed_tokens(length: int, key_group: int, recent: int, before: int = 0) -> int:
    """Of ``length`` tokens, those in pages, where ``before`` were already: whole groups, without
    the newest ``recent`` tokens. It depends on the longest that the cache was, not on the pieces
    that it came in."""
    return max(before, (length - recent) // key_group * key_group)


def is_sink(tokens: torch.Tensor, first: torch.Tensor, sink: int) -> torch.Tensor:
    """bool ``[B, S]``: which of the tokens ``[S]`` of each row are its sink, the first ``sink`` of
    them from its first real one, ``first [B]``, on. They stay exact beside the pages, in which they
    stand as padding does: outside of every range, as zeros."""
    slots = tokens - first[:, None]
    return (slots >= 0) & (slots < sink)


def quantize(
    x: torch.Tensor, bits: int, dim: int, kept: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes and the range of every group, a group being what lies along ``dim``.

    ``zero`` is the smallest value, ``scale`` the step, rounded up to x's dtype: no value lies
    outside ``zero ... zero + scale * (2^bits - 1)``, so none is off by more than half a step. Where
    the end of that range would be no finite number of the dtype, the step is rounded down: every
    code is finite, and the largest value still within half a step (bfloat16 with 8 bits: two).

    Args:
        x: float32, bfloat16 or float16, finite.
        kept: bool, broadcasts to x: what takes part in the range; None for all. A group without
            any has zero and scale 0.

    Returns:
        uint8 codes like x; scale and zero in x's dtype, ``dim`` kept as 1.
    """
    largest = 2**bits - 1
    kept = torch.ones_like(x, dtype=torch.bool) if kept is None else kept.expand_as(x)
    values = x.float()
    low = values.masked_fill(~kept, float("inf")).amin(dim, keepdim=True)
    high = values.masked_fill(~kept, float("-inf")).amax(dim, keepdim=True)
    some = kept.any(dim, keepdim=True)
    low, high = low.where(some, 0.0), high.where(some, 0.0)
    scale = round_up(high / largest - low / largest, x.dtype)
    end = (low + scale.float() * largest).to(x.dtype)
    scale = scale.where(
        end.isfinite() | ~scale.isfinite(), scale.nextafter(torch.zeros_like(scale))
    )
    step = scale.float()
    codes = ((values - low) / step).where(step > 0, 0.0).clamp(0, largest).round()
    return codes.to(torch.uint8), scale, low.to(x.dtype)


def round_up(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The smallest number of ``dtype`` that is at least x (float32, not negative)."""
    if dtype == torch.float32:
        return x
    near = x.to(dtype)
    return (near.view(torch.int16) + (near.float() < x).short()).view(dtype)


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """``zero + scale * code`` in float32, or in float64 for such a scale."""
    compute = compute_dtype(scale)
    return zero.to(compute) + scale.to(compute) * codes.to(compute)


def quantize_keys(
    k: torch.Tensor, bits: int, group: int, kept: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """k ``[B, H, S, D]``, S a multiple of ``group``, kept bool ``[B, S]`` -> codes ``[B, H, S, D]``
    and ranges ``[B, H, S/group, 2, D]``, scale before zero."""
    groups = k.unflatten(2, (-1, group))  # [B, H, S/g, g, D]
    if kept is not None:
        kept = kept[:, None].unflatten(2, (-1, group))[..., None]
    codes, scale, zero = quantize(groups, bits, dim=3, kept=kept)
    return codes.flatten(2, 3), torch.cat((scale, zero), dim=3)


def quantize_values(
    v: torch.Tensor, bits: int, group: int, kept: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """v ``[B, H, S, D]`` -> codes ``[B, H, S, D]`` and ranges ``[B, H, S/64, ceil(D/group), 2,
    64]``. The last group of a row may be narrower. Padding is cached as zeros."""
    if kept is not None:
        v = v.where(kept[:, None, :, None], 0.0)
    parts = [quantize(part, bits, dim=3) for part in v.split(group, dim=3)]
    codes = torch.cat([codes for codes, _, _ in parts], dim=3)
    ranges = torch.stack([torch.stack((s, z), 2)[..., 0] for _, s, z in parts], dim=2)
    ranges = ranges.unflatten(-1, (-1, PAGE))  # [B, H, groups, 2, pages, 64]
    return codes, ranges.permute(0, 1, 4, 2, 3, 5).contiguous()


def dequantize_keys(codes: torch.Tensor, ranges: torch.Tensor, group: int) -> torch.Tensor:
    """``[B, H, S, D]``, see :func:`dequantize`."""
    scale, zero = ranges.unsqueeze(3).unbind(4)  # [B, H, S/g, 1, D]
    return dequantize(codes.unflatten(2, (-1, group)), scale, zero).flatten(2, 3)


def dequantize_values(codes: torch.Tensor, ranges: torch.Tensor, group: int) -> torch.Tensor:
    """``[B, H, S, D]``, see :func:`dequantize`."""
    ranges = ranges.permute(0, 1, 3, 4, 2, 5).flatten(-2)[..., None]  # [B, H, groups, 2, S, 1]
    parts = codes.split(group, dim=3)
    return torch.cat(
        [dequantize(part, ranges[:, :, i, 0], ranges[:, :, i, 1]) for i, part in enumerate(parts)],
        dim=3,
    )


def packed_states(
    k: torch.Tensor,
    v: torch.Tensor,
    bits: float,
    key_group: int,
    value_group: int,
    kept: torch.Tensor,
    sinks: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What whole groups k, v ``[B, H, S, D]`` are read as once they are packed, in their dtype.

    Args:
        bits: one of ``BITS``.
        kept: bool ``[B, S]``: which tokens are not padding, of which nothing is said.
        sinks: bool ``[B, S]``: which are of the sink (:func:`is_sink`).
    """
    ranged = kept & ~sinks
    key_bits, value_bits = WIDTHS[bits]
    key_codes, key_ranges = quantize_keys(k, key_bits, key_group, ranged)
    value_codes, value_ranges = quantize_values(v, value_bits, value_group, ranged)
    exact = sinks[:, None, :, None]
    k = k.where(exact, dequantize_keys(key_codes, key_ranges, key_group).to(k.dtype))
    v = v.where(exact, dequantize_values(value_codes, value_ranges, value_group).to(v.dtype))
    return k, v


class Places(NamedTuple):
    """Where the codes of a page lie.

    Attributes:
        stack: int64 ``[64, D]``: of each code.
        shift: int64 ``[64, D]``: its bits in that stack.
        row: stacks of a row of cells.
    """

    stack: torch.Tensor
    shift: torch.Tensor
    row: int


def cell_slots(bits: int) -> int:
    """Codes of a stack: those of 3 bits have stacks of 12 bits, others of 8."""
    return 4 if bits == 3 else 8 // bits


def key_places(bits: int, dim: int) -> Places:
    """Of each key code of a page."""
    token, channel = torch.arange(PAGE)[:, None], torch.arange(dim)
    slots = cell_slots(bits)
    columns = PAGE // LANES // slots
    column, row = token // LANES, channel // 2
    cell = row * columns + column // slots
    stack = cell * 2 * LANES + token % LANES * 2 + channel % 2
    return Places(stack, (column % slots * bits).expand_as(stack), columns * 2 * LANES)


def value_places(bits: int, dim: int) -> Places:
    """Of each value code of a page."""
    token, channel = torch.arange(PAGE)[:, None], torch.arange(dim)
    slots = cell_slots(bits)
    column, row = channel // LANES, token // 2
    cell = row // slots * (dim // LANES) + column
    stack = cell * 2 * LANES + channel % LANES * 2 + token % 2
    return Places(stack, (row % slots * bits).expand_as(stack), 2 * dim)


def pack(codes: torch.Tensor, bits: int, places: Places) -> torch.Tensor:
    """uint8 ``[B, H, S, D]`` -> pages uint8 ``[B, H, S/64, bytes]``."""
    stack, shift, row = places
    shifted = codes.unflatten(2, (-1, PAGE)).int() << shift.int()  # [B, H, pages, 64, D]
    stacks = shifted.new_zeros(*shifted.shape[:3], int(stack.max()) + 1)
    stacks.index_add_(3, stack.flatten(), shifted.flatten(3))
    if bits != 3:
        return stacks.to(torch.uint8)
    lower, upper = stacks & 0xFF, (stacks >> 8).unflatten(3, (-1, 2, row))  # rows 2 i and 2 i + 1
    upper = upper[..., 0, :] | upper[..., 1, :] << 4
    return torch.cat((lower, upper.flatten(3)), dim=3).to(torch.uint8)


def unpack(pages: torch.Tensor, bits: int, places: Places) -> torch.Tensor:
    """Pages uint8 ``[B, H, S/64, bytes]`` -> codes uint8 ``[B, H, S, D]``."""
    stack, shift = (x.to(pages.device) for x in places[:2])
    stacks = pages.int()
    if bits == 3:
        lower, upper = stacks.split((2 * stacks.shape[3] // 3, stacks.shape[3] // 3), dim=3)
        upper = upper.unflatten(3, (-1, 1, places.row))
        upper = torch.cat((upper & 0xF, upper >> 4), dim=4)  # rows 2 i and 2 i + 1
        stacks = lower | upper.flatten(3) << 8
    return (stacks[..., stack] >> shift.int() & (2**bits - 1)).to(torch.uint8).flatten(2, 3)
