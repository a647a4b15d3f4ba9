"""States of any size, with a winner that every arithmetic must find."""

from __future__ import annotations

import torch

# (dtype, largest q and k): up to float16's maximum, and to where float32 still holds the scores
MAGNITUDES = [
    (dtype, size)
    for dtype, largest in ((torch.float32, 1e18), (torch.bfloat16, 1e18), (torch.float16, 65504.0))
    for size in (1.0, 1e2, 3e4, 1e9, largest)
    if size <= largest
]


def make_winners(rows, keys, dtype, size, scale=1.0, dim=64):
    """q ``[1, 2, rows, D]``, k and v ``[1, 1, keys, D]``: of every query, the last two keys but 10
    have the same score, by far the largest."""
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(dim, generator=generator).sign()
    q = pattern * (1 - torch.rand(1, 2, rows, dim, generator=generator) / 8)
    # with 2 bits, other codes than the winners
    k = pattern * torch.rand(1, 1, keys, dim, generator=generator) * 0.4
    k[:, :, -12:-10] = pattern if scale > 0 else -pattern
    v = torch.randn(1, 1, keys, dim, generator=generator)
    return [x.to(dtype) for x in (q * size, k * size, v)]
