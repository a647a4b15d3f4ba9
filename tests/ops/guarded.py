"""Tensors with poison around them: what an operator must neither read nor write."""

import torch

GUARD = 64  # elements on each side


class Guarded:
    """``tensor`` of NaN (or ``fill``) in a larger buffer; ``assert_intact`` finds stray writes."""

    def __init__(self, shape, dtype: torch.dtype, fill: float = float("nan")) -> None:
        size = int(torch.Size(shape).numel())
        self.buffer = torch.full((size + 2 * GUARD,), fill).to(dtype)
        self.before = self.buffer.clone()
        self.tensor = self.buffer[GUARD : GUARD + size].view(shape)

    def assert_intact(self) -> None:
        for side in (slice(0, GUARD), slice(-GUARD, None)):
            now, before = self.buffer[side], self.before[side]
            assert torch.equal(now.view(torch.uint8), before.view(torch.uint8))


def poisoned_rows(x: torch.Tensor, dim: int) -> torch.Tensor:
    """x as every second row of a larger tensor whose other rows are NaN."""
    shape = list(x.shape)
    shape.insert(dim + 1, 2)
    spread = torch.full(shape, float("nan")).to(x.dtype)
    spread.select(dim + 1, 0).copy_(x)
    return spread.select(dim + 1, 0)
