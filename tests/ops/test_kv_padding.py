"""What a left-padded row of a batch has in common with the same row alone.

Groups of 64 tokens are counted from the first row of the cache, padding included. So padding moves
the borders of groups: codes differ, their error does not.
"""

import pytest
import torch
from ops.kv_inputs import packing_cache

from intp_ext import kv_cache

PAD_VALUE = 1e3  # would dominate every range that it were part of


def dequantized(k, v, bits, pad):
    """k and v ``[1, H, S, D]`` after a cache that had ``pad`` rows of padding before them."""
    rows = torch.full((*k.shape[:2], pad, k.shape[3]), PAD_VALUE)
    cache = packing_cache(bits)
    bounds = torch.tensor([[pad, pad + k.shape[2]]], dtype=torch.int32)
    cache.append(torch.cat((rows, k), 2), torch.cat((rows, v), 2), kv_bounds=bounds)
    return [x[:, :, pad:] for x in cache.dequantize()]


@pytest.mark.parametrize("pad", [64, 128])
@pytest.mark.parametrize("bits", kv_cache.BITS)
def test_whole_groups_of_padding_change_nothing(bits, pad):
    k, v = torch.randn(2, 1, 2, 200, 64, generator=torch.Generator().manual_seed(0))
    for alone, padded in zip(dequantized(k, v, bits, 0), dequantized(k, v, bits, pad), strict=True):
        assert torch.equal(alone, padded)


@pytest.mark.parametrize("bits", kv_cache.BITS)
def test_other_padding_changes_codes_and_not_their_error(bits):
    k, v = torch.randn(2, 1, 2, 640, 64, generator=torch.Generator().manual_seed(0))
    alone = dequantized(k, v, bits, 0)
    for pad in (1, 30, 63, 100):
        padded = dequantized(k, v, bits, pad)
        for exact, one, other in zip((k, v), alone, padded, strict=True):
            errors = [(x - exact).square().mean().sqrt() for x in (one, other)]
            assert errors[1] <= 1.05 * errors[0], pad
            assert (one - other).square().mean().sqrt() <= errors[0] + errors[1], pad
