"""torch.jit.trace: shapes are tensors while it runs, and what it records works for other shapes."""

from __future__ import annotations

import pytest
import torch
from ops.kv_inputs import packing_cache

from intp_ext import (
    Window,
    apply_rope,
    attention,
    cached_attention,
    rearrange,
    rope_frequencies,
)

ROPE = rope_frequencies("ntk", 16, factor=2.0)
WINDOW = Window(2, block=3, block_start=1, sink=1, dense_from=8)


def states(length, heads=(4, 2, 2)):
    generator = torch.Generator().manual_seed(length)
    return [torch.randn(2, count, length, 16, generator=generator) for count in heads]


def step(q, k, v):
    cache = packing_cache(4, rope=ROPE)
    cache.append(k, v)
    return cached_attention(q, cache)


# name -> (the call, its inputs for a length, does what is recorded work for other lengths?)
CALLS = {
    "attention": (attention, states, True),
    "window": (lambda q, k, v: attention(q, k, v, window=WINDOW), states, True),
    "bounds": (
        lambda q, k, v, bounds: attention(q, k, v, kv_bounds=bounds),
        lambda n: [*states(n), torch.tensor([[1, n], [0, n - 1]], dtype=torch.int32)], True,
    ),
    "offset": (
        lambda q, k, v, at: attention(q[:, :, :2], k, v, q_offset=at),
        lambda n: [*states(n), torch.tensor([n - 2, 1], dtype=torch.int32)], True,
    ),
    "rope": (
        lambda q, k, v, at: attention(q, k, v, rope=ROPE, positions=at),
        lambda n: [*states(n), torch.arange(n)], True,
    ),
    "order": (
        lambda q, k, v, order: attention(q, k, v, order=order),
        lambda n: [*states(n), torch.arange(n).flip(0)], True,
    ),
    "apply_rope": (
        lambda q, k, at: apply_rope(q, k, at, ROPE),
        lambda n: [*states(n)[:2], torch.arange(n)], True,
    ),
    "rearrange": (
        rearrange, lambda n: [torch.randn(2, n, 8), torch.arange(n).flip(0)], True,
    ),
    "cache": (step, lambda n: states(n), False),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_traced_gives_what_eager_gives(name):
    call, inputs, any_length = CALLS[name]
    traced = torch.jit.trace(call, tuple(inputs(70)), check_trace=False)
    for length in (70, 9, 130) if any_length else (70,):
        given = inputs(length)
        found, expected = traced(*given), call(*given)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
