"""Bounds made once: what attention and cached_attention make of their arguments at every call."""

from __future__ import annotations

import pytest
import torch
from ops.kv_inputs import packing_cache
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from intp_ext import Bounds, Window, attention, cached_attention, rope_frequencies
from intp_ext.window import NEVER_DENSE, _shared

CPU = torch.device("cpu")
PADDING = torch.tensor([[3, 60], [0, 50]], dtype=torch.int32)
STARTS = torch.tensor([5, 2], dtype=torch.int32)
FIRST_KEYS = (torch.arange(20, dtype=torch.int32) * 7 % 43)[None]
CALLS = {
    "causal": {},
    "padding": {"kv_bounds": PADDING},
    "offset": {"q_offset": 44},
    "offset on the device": {"q_offset": torch.tensor([44, 40], dtype=torch.int32)},
    "window": {"window": Window(2, 8, STARTS, 4, 60), "q_offset": 44, "kv_bounds": PADDING},
    "first keys": {"window": Window(first_key=FIRST_KEYS, sink=2), "q_offset": 44},
}


def states(rows=20, keys=64):
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 4, rows, 32), (2, 2, keys, 32), (2, 2, keys, 32))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_give_the_same_answer(call):
    q, k, v = states()
    bounds = Bounds.of(**{"window": None, **call}, batch=2, queries=20, keys=64, device=CPU)
    assert torch.equal(attention(q, k, v, bounds=bounds), attention(q, k, v, **call))


@pytest.mark.parametrize("bits", [4, 16])
def test_give_a_cache_the_same_answer(bits):
    q, k, v = states(1, 150)
    cache = packing_cache(bits, rope=rope_frequencies("none", 32))
    cache.append(k, v, kv_bounds=PADDING + torch.tensor([0, 90], dtype=torch.int32))
    window = Window(20, sink=2)
    bounds = Bounds.of(
        window,
        batch=2,
        queries=1,
        keys=150,
        device=CPU,
        q_offset=149,
        kv_bounds=cache.kv_bounds,
    )
    expected = cached_attention(q, cache, window=window)
    assert torch.equal(cached_attention(q, cache, bounds=bounds), expected)


def test_columns():
    """lo, hi, q_offset, block_start, dense_from."""
    bounds = Bounds.of(None, batch=1, queries=4, keys=9, device=CPU, q_offset=5)
    assert bounds.rows.tolist() == [[0, 9, 5, 0, NEVER_DENSE]]
    assert (bounds.size, bounds.block, bounds.sink) == (None, 1, 0)
    window = Window(3, 8, STARTS, 4, 60)
    bounds = Bounds.of(window, batch=2, queries=1, keys=9, device=CPU, kv_bounds=PADDING)
    assert bounds.rows.tolist() == [[3, 60, 0, 5, 60], [0, 50, 0, 2, 60]]
    assert (bounds.size, bounds.block, bounds.sink) == (3, 8, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": Window(2)}, "window: expected none with bounds"),
        ({"q_offset": 3}, "q_offset: expected none with bounds"),
        ({"kv_bounds": PADDING}, "kv_bounds: expected none with bounds"),
        ({"order": torch.arange(20)}, "order: expected none with bounds"),
        (
            {"rope": rope_frequencies("none", 32), "positions": torch.arange(64)},
            "rope: expected none with bounds",
        ),
    ],
)
def test_stand_alone(options, message):
    q, k, v = states()
    bounds = Bounds.of(None, batch=2, queries=20, keys=64, device=CPU)
    with pytest.raises(ValueError, match=message):
        attention(q, k, v, bounds=bounds, **options)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[0, 9, 0, 0, 9]], TypeError, "rows: expected a tensor, got list"),
        (torch.zeros(2, 5), TypeError, "rows: expected int32, got torch.float32"),
        (torch.zeros(2, 3).int(), ValueError, r"rows: expected contiguous \[B, 5\]"),
        (torch.zeros(2, 10).int()[:, ::2], ValueError, r"rows: expected contiguous \[B, 5\]"),
    ],
)
def test_bad_rows(rows, error, message):
    with pytest.raises(error, match=message):
        Bounds(rows)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({"size": 1.5}, TypeError, "size: expected an int, got float"),
        ({"size": True}, TypeError, "size: expected an int, got bool"),
        ({"size": 0}, ValueError, "size: expected at least 1, got 0"),
        ({"block": None}, TypeError, "block: expected an int, got NoneType"),
        ({"sink": -1}, ValueError, "sink: expected at least 0, got -1"),
        ({"size": 2**63}, ValueError, "size: expected less than 2"),
        ({"size": 2, "first_key": FIRST_KEYS}, ValueError, "first_key: expected none with size"),
        ({"first_key": FIRST_KEYS[0]}, ValueError, r"first_key: expected \[1 or B, Sq\]"),
        ({"first_key": FIRST_KEYS.long()}, TypeError, "first_key: expected int32"),
    ],
)
def test_bad_sizes(sizes, error, message):
    with pytest.raises(error, match=message):
        Bounds(torch.zeros(1, 5, dtype=torch.int32), **sizes)


@pytest.mark.parametrize("shape", [(3, 20), (2, 19)])
def test_first_keys_of_other_queries(shape):
    q, k, v = states()
    rows = Bounds.of(None, batch=2, queries=20, keys=64, device=CPU).rows
    bounds = Bounds(rows, first_key=torch.zeros(shape, dtype=torch.int32))
    expected = rf"bounds.first_key: expected \[1 or 2, 20\], got \[{shape[0]}, {shape[1]}\]"
    with pytest.raises(ValueError, match=expected):
        attention(q, k, v, bounds=bounds)


def test_of_another_batch():
    q, k, v = states()
    bounds = Bounds.of(None, batch=3, queries=20, keys=64, device=CPU)
    with pytest.raises(ValueError, match="bounds: expected 2 rows, got 3"):
        attention(q, k, v, bounds=bounds)


def test_compiled_code_refuses_what_eager_code_refuses():
    q, k, v = states(1, 60)
    cache = packing_cache(capacity=64)
    cache.append(k, v)
    bounds = Bounds.of(None, batch=2, queries=1, keys=60, device=CPU, q_offset=59)
    for options in ({"bounds": bounds, "window": Window(2)}, {"bounds": bounds, "scale": True}):
        torch._dynamo.reset()
        call = torch.compile(cached_attention, backend="eager")
        with pytest.raises(Exception, match=r"expected none with bounds|expected a number"):
            call(q, cache, **options)
    torch._dynamo.reset()
    with pytest.raises(Exception, match="expected no grad"):
        torch.compile(cached_attention, backend="eager")(q.requires_grad_(), cache)
    with pytest.raises(Exception, match="expected k and v without grad"):
        torch.compile(cache.append, backend="eager")(
            k[:, :, :1].clone().requires_grad_(), v[:, :, :1]
        )
    assert cache.length == 60


class Anything(TorchDispatchMode):
    """Sees every operator that is called within it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_calls_of_one_size_share_them():
    """Only the first makes a tensor, in inference mode too, where autograd could not keep it."""
    q, k, v = (x[:, :, :17].requires_grad_() for x in states(17))
    _shared.cache_clear()
    with torch.inference_mode():
        expected = attention(q, k, v)
    assert _shared.cache_info().misses == 1
    result = attention(q, k, v)
    assert _shared.cache_info()[:2] == (1, 1)  # hits, misses
    assert torch.equal(result, expected)
    result.sum().backward()
    assert k.grad.abs().sum() > 0
    attention(q, k, v, window=Window(3))
    attention(q[:, :, :9], k, v, q_offset=8)
    attention(q[:1], k[:1], v[:1])
    assert _shared.cache_info().misses == 4


def test_nothing_is_shared_that_a_mode_made():
    q, k, v = states(13)
    _shared.cache_clear()
    with FakeTensorMode() as mode:
        assert attention(*(mode.from_tensor(x) for x in (q, k, v))).shape == q.shape
    with Anything() as mode:
        attention(q, k, v)
    assert "intp_ext::attention_core_no_grad" in mode.names
    torch.func.grad(lambda x: (x * attention(q, k, v)).sum())(q)
    assert _shared.cache_info().currsize == 0


def test_they_are_made_beside_the_queries():
    q, k, v = states(11)
    _shared.cache_clear()
    with torch.device("meta"):
        result = attention(q, k, v)
    assert torch.equal(result, attention(q, k, v))
