"""Windows by first keys give, bit for bit, what windows of blocks give where they say the same."""

from __future__ import annotations

import pytest
import torch
from ops.devices import DEVICES, to_device
from ops.kv_inputs import make_states, packing_cache

from intp_ext import Window, attention, cached_attention, kv_cache, reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
STARTS = torch.tensor([5, -30], dtype=torch.int32)
BLOCKS = {
    "tokens": Window(100),
    "frames": Window(2, 51, STARTS, 5),
    "dense rows": Window(1, 16, 0, 3, torch.tensor([640, 800], dtype=torch.int32)),
    "every key": Window(10_000),
}
PADDING = torch.tensor([[70, 700], [0, 690]], dtype=torch.int32)


def by_first_keys(window: Window, rows: int, q_offset: int) -> Window:
    """The same window, of two batch rows or of one for both."""
    start = torch.as_tensor(window.block_start).reshape(-1, 1)
    block = torch.div(q_offset + torch.arange(rows) - start, window.block, rounding_mode="floor")
    first_key = ((block - window.size + 1) * window.block + start).int()
    return Window(first_key=first_key, sink=window.sink, dense_from=window.dense_from)


def states(rows, keys, dtype, heads=4, dim=32):
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, heads), (keys, 2), (keys, 2))
    return [
        torch.randn(2, n, h, dim, generator=generator).to(dtype).transpose(1, 2) for n, h in shapes
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 3, 60, 700], ids=lambda n: f"{n} rows")
@pytest.mark.parametrize("window", BLOCKS)
def test_attention(window, rows, dtype, device):
    blocks = BLOCKS[window]
    keys = by_first_keys(blocks, rows, 700 - rows)
    q, k, v = to_device(states(rows, 700, dtype), device)
    for padding in (None, PADDING):
        options = {"q_offset": 700 - rows, "kv_bounds": padding}
        expected, found = (
            attention(q, k, v, **to_device({"window": x, **options}, device))
            for x in (blocks, keys)
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bits", kv_cache.BITS)
@pytest.mark.parametrize("rows", [1, 7, 60], ids=lambda n: f"{n} rows")
@pytest.mark.parametrize("window", BLOCKS)
def test_cached_attention(window, rows, bits, device):
    """Over pages and the rows after them, split among tasks."""
    k, v = to_device(make_states(2, 2, 1300, 32, torch.bfloat16), device)
    q = to_device(states(rows, 1, torch.bfloat16)[0], device)
    cache = packing_cache(bits)
    cache.append(k, v, kv_bounds=to_device(PADDING + 600, device))
    blocks = to_device(BLOCKS[window], device)
    keys = to_device(by_first_keys(BLOCKS[window], rows, 1300 - rows), device)
    found = cached_attention(q, cache, window=keys)
    assert torch.equal(found, cached_attention(q, cache, window=blocks))


@pytest.mark.parametrize("rows", [1, 60])
def test_none_and_all(rows):
    """First keys beyond the queries leave the sink; first keys below zero leave out nothing."""
    q, k, v = states(rows, 700, torch.float32)
    at = {"q_offset": 700 - rows}
    beyond = Window(first_key=torch.full((1, rows), 2**31 - 1, dtype=torch.int32))
    assert attention(q, k, v, window=beyond, **at).eq(0).all()
    sink = Window(first_key=beyond.first_key, sink=9)
    of_sink = attention(q, k[:, :, :9], v[:, :, :9], q_offset=torch.tensor(9, dtype=torch.int32))
    torch.testing.assert_close(attention(q, k, v, window=sink, **at), of_sink, rtol=0, atol=2e-6)
    below = Window(first_key=torch.full((1, rows), -(2**31), dtype=torch.int32))
    assert torch.equal(attention(q, k, v, window=below, **at), attention(q, k, v, **at))


def test_gradients_are_those_of_the_definition():
    q, k, v = states(9, 9, torch.float32)
    window = Window(first_key=torch.tensor([[0, 1, 0, 3, 2, 5, 9, 0, 7]], dtype=torch.int32))
    found = []
    for function in (attention, reference.attention):
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        out = function(*leaves, window=window, kv_bounds=torch.tensor([[1, 9], [0, 7]]).int())
        found.append(torch.autograd.grad(out.square().sum(), leaves))
    for ours, twin in zip(*found, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-5, atol=1e-6)


def test_compiles_once_for_all_first_keys():
    q, k, v = states(60, 60, torch.float32)
    torch._dynamo.reset()

    def call(q, k, v, first_key):
        return attention(q, k, v, window=Window(first_key=first_key, sink=1))

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for step in (3, 5):
        first_key = (torch.arange(60, dtype=torch.int32) * step % 50)[None]
        with torch._dynamo.config.patch(error_on_recompile=step == 5):
            found = compiled(q, k, v, first_key)
        assert torch.equal(found, call(q, k, v, first_key))


@pytest.mark.parametrize("bits", [4, 16])
def test_a_compiled_step_over_a_cache(bits):
    k, v = make_states(2, 2, 200, 32, torch.float32)
    q = states(20, 1, torch.float32)[0]
    first_key = (180 + torch.arange(20, dtype=torch.int32) * 7 % 30)[None] - 60
    torch._dynamo.reset()
    cache = packing_cache(bits, capacity=256)
    cache.append(k, v)

    def step(cache, q, first_key):
        return cached_attention(q, cache, window=Window(first_key=first_key, sink=2))

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(cache, q, first_key), step(cache, q, first_key))
