"""attention() against a slow loop written from the visibility rule, and against PyTorch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.eager_attention import bounds_of, seen_keys
from ops.guarded import Guarded
from tolerance import assert_as_good_as_eager

import intp_ext
from intp_ext import Window, attention, reference, rope_frequencies

CORE = torch.ops.intp_ext.attention_core
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def make(batch, heads, kv_heads, rows, keys, dim=16, dtype=torch.float32, seed=0):
    """q, k, v as the transposed [B, S, H, D] views that a model has."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((rows, heads), (keys, kv_heads), (keys, kv_heads))
    return [
        torch.randn(batch, length, count, dim, generator=generator).to(dtype).transpose(1, 2)
        for length, count in shapes
    ]


def sees(i, j, lo, hi, window, start, dense, first_key):
    """The rule of the design, one query and one key at a time."""
    if not (lo <= j < hi and j <= i):
        return False
    if window is None:
        return True

    def blk(x):
        return math.floor((x - start) / window.block)

    recent = blk(j) > blk(i) - window.size if first_key is None else j >= first_key
    return recent or j - lo < window.sink or (dense is not None and i >= dense)


def at(value, b):
    return int(value[b]) if isinstance(value, torch.Tensor) and value.dim() else value


def slow_attention(q, k, v, window=None, q_offset=0, kv_bounds=None, scale=None):
    """float64, softmax over an explicit list of keys for every query."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    q, k, v = q.double(), k.double(), v.double()
    batch, heads, rows, dim = q.shape
    keys, group = k.shape[2], heads // k.shape[1]
    scale = dim**-0.5 if scale is None else scale
    for b in range(batch):
        lo, hi = (0, keys) if kv_bounds is None else kv_bounds[b].tolist()
        start = 0 if window is None else at(window.block_start, b)
        dense = None if window is None else at(window.dense_from, b)
        for r in range(rows):
            i = int(at(q_offset, b)) + r
            first_key = None
            if window is not None and window.first_key is not None:
                first_key = int(window.first_key.expand(batch, -1)[b, r])
            seen = [j for j in range(keys) if sees(i, j, lo, hi, window, start, dense, first_key)]
            if not seen:
                continue
            for h in range(heads):
                weights = (k[b, h // group, seen] @ q[b, h, r] * scale).softmax(0)
                out[b, h, r] = weights @ v[b, h // group, seen]
    return out


def attend(device, q, k, v, **options):
    """attention() there, of and to CPU tensors."""
    return attention(*to_device((q, k, v), device), **to_device(options, device)).cpu()


@st.composite
def problems(draw):
    """Any batch, GQA, chunk, window, block, sink, dense rows, bounds and offsets."""
    batch, kv_heads = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 3))
    keys = draw(st.integers(1, 24))
    rows = draw(st.integers(1, keys))
    q_offset = draw(st.integers(0, keys - rows))

    def per_row(least, most):
        if draw(st.booleans()):
            return draw(st.integers(least, most))
        values = draw(st.lists(st.integers(least, most), min_size=batch, max_size=batch))
        return torch.tensor(values, dtype=torch.int32)

    window = None
    if draw(st.booleans()):
        seen = {
            "sink": draw(st.integers(0, 5)),
            "dense_from": per_row(0, 30) if draw(st.booleans()) else None,
        }
        if draw(st.booleans()):
            size, block = draw(st.integers(1, 8)), draw(st.integers(1, 5))
            window = Window(size, block, block_start=per_row(-3, 20), **seen)
        else:
            shape = (draw(st.sampled_from([1, batch])), rows)
            values = st.lists(
                st.integers(-3, 30), min_size=math.prod(shape), max_size=math.prod(shape)
            )
            first_key = torch.tensor(draw(values), dtype=torch.int32).view(shape)
            window = Window(first_key=first_key, **seen)
    bounds = None
    if draw(st.booleans()):
        bounds = torch.tensor(
            [
                sorted((draw(st.integers(0, keys)), draw(st.integers(0, keys))))
                for _ in range(batch)
            ],
            dtype=torch.int32,
        )
    if draw(st.booleans()):
        q_offset = torch.tensor(q_offset, dtype=torch.int32)
    shape = (batch, heads, kv_heads, rows, keys)
    return shape, {"window": window, "q_offset": q_offset, "kv_bounds": bounds}


def core_arguments(batch, rows, keys, *options, scale=0.25):
    """What follows q, k and v in attention_core."""
    bounds = bounds_of(batch, rows, keys, *options)
    return bounds.rows, bounds.size, bounds.block, bounds.sink, scale


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=150)
@given(problem=problems())
def test_equals_the_slow_loop(device, problem):
    shape, options = problem
    q, k, v = make(*shape)
    ours = attend(device, q, k, v, **options)
    exact = slow_attention(q, k, v, **options)
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=2e-6)
    twin = reference.attention(q, k, v, **options)
    torch.testing.assert_close(ours, twin, rtol=0, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("gqa", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_full_causal_is_as_good_as_eager(dtype, gqa, device):
    """Eager: transformers' own attention in the same dtype."""
    q, k, v = make(2, 4, 4 // gqa, 70, 70, 32, dtype)
    scores = q @ k.repeat_interleave(gqa, 1).transpose(-1, -2) * 32**-0.5
    scores = scores.masked_fill(~torch.ones(70, 70, dtype=torch.bool).tril(), float("-inf"))
    weights = scores.softmax(-1, dtype=torch.float32).to(dtype)
    eager = weights @ v.repeat_interleave(gqa, 1)
    exact = F.scaled_dot_product_attention(
        *(x.double() for x in (q, k, v)), is_causal=True, enable_gqa=True
    )
    assert_as_good_as_eager(attend(device, q, k, v), eager, exact)


@pytest.mark.parametrize("per_row", [False, True], ids=["[S]", "[B, S]"])
@pytest.mark.parametrize("options", [{}, {"window": Window(3, block=2, block_start=4, sink=2)}])
def test_order_storage_in_storage_out(options, per_row):
    """Row order[t] of the inputs is the token at time t, row order[t] of the result its own."""
    q, k, v = make(2, 4, 2, 24, 24)
    generator = torch.Generator().manual_seed(1)
    order = torch.stack([torch.randperm(24, generator=generator) for _ in range(2)])
    order = order if per_row else order[0]
    rope, positions = rope_frequencies("ntk", 16, factor=2.0), torch.arange(24)
    bounds = torch.tensor([[3, 24], [0, 20]], dtype=torch.int32)
    ours = attention(
        q, k, v, rope=rope, positions=positions, order=order, kv_bounds=bounds, **options
    )
    twin = reference.attention(
        q, k, v, rope=rope, positions=positions, order=order, kv_bounds=bounds, **options
    )
    torch.testing.assert_close(ours, twin, rtol=0, atol=2e-6)
    for b in range(2):
        row = order[b] if per_row else order
        timed = [
            reference.apply_rope(x[b : b + 1, :, row], None, positions, rope)[0] for x in (q, k)
        ]
        expected = slow_attention(
            *timed, v[b : b + 1, :, row], kv_bounds=bounds[b : b + 1], **options
        )
        torch.testing.assert_close(ours[b, :, row].double(), expected[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", ["[S]", "[1, S]", "[B, S]"])
@pytest.mark.parametrize("layout", ["[B, S, H, D]", "[B, H, S, D]", "of a larger tensor"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_order_in_any_layout(layout, shape, dtype):
    """q, k and v are moved into time order and the result back; gathered first, it is the same."""
    q, k, v = make(2, 4, 2, 24, 24)
    if layout == "[B, H, S, D]":
        q, k, v = (x.contiguous() for x in (q, k, v))
    elif layout != "[B, S, H, D]":
        q, k, v = (F.pad(x, (3, 2, 1, 4))[:, :, 1:-4, 3:-2] for x in (q, k, v))
    order = torch.stack([torch.randperm(24, dtype=dtype) for _ in range(2)])
    order = {"[S]": order[0], "[1, S]": order[:1], "[B, S]": order}[shape]
    ours = attention(q, k, v, order=order)
    for b in range(2):
        row = order.long() if order.dim() == 1 else order[b % order.shape[0]].long()
        timed = attention(*(x[b : b + 1, :, row] for x in (q, k, v)))
        assert torch.equal(ours[b, :, row], timed[0])


@pytest.mark.parametrize("positions", ["[S]", "[1, S]", "[B, S]", "float32", "mrope"])
@pytest.mark.parametrize("q_offset", [0, 5, "[]", "[B]"])
def test_rope_inside_equals_rope_before(positions, q_offset):
    """Query row r is at position entry q_offset + r."""
    rows, keys = 7, 16
    q, k, v = make(2, 2, 1, rows, keys)
    rope = rope_frequencies("linear", 16, factor=3.0)
    every = torch.arange(keys)
    if positions == "[1, S]":
        every = every[None]
    elif positions == "[B, S]":
        every = torch.stack((every, every * 2 + 1))
    elif positions == "float32":
        every = every * 0.37
    elif positions == "mrope":
        every = torch.stack((every, every * 2, every * 5))[:, None]
        rope = rope_frequencies("none", 16, sections=(2, 3, 3))
    offsets = {
        "[]": torch.tensor(4, dtype=torch.int32),
        "[B]": torch.tensor([2, 9], dtype=torch.int32),
    }
    q_offset = offsets.get(q_offset, q_offset)
    ours = attention(q, k, v, rope=rope, positions=every, q_offset=q_offset)
    turned_k = reference.apply_rope(None, k, every, rope)[1]
    for b in range(2):
        begin = int(at(q_offset, b))
        of_row = every if every.dim() == 1 else every[..., min(b, every.shape[-2] - 1), :]
        of_row = of_row[..., begin : begin + rows]
        of_row = of_row[:, None] if positions == "mrope" else of_row
        turned_q = reference.apply_rope(q[b : b + 1], None, of_row, rope)[0]
        exact = slow_attention(turned_q, turned_k[b : b + 1], v[b : b + 1], q_offset=begin)
        torch.testing.assert_close(ours[b].double(), exact[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_that_sees_no_key_is_zero(dtype, device):
    q, k, v = make(2, 2, 2, 6, 6, dtype=dtype)
    bounds = torch.tensor([[4, 6], [0, 0]], dtype=torch.int32)
    out = attend(device, q, k, v, kv_bounds=bounds)
    assert out[0, :, :4].eq(0).all() and out[1].eq(0).all()
    assert out[0, :, 4:].ne(0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [32, 264])
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 60])
def test_without_keys_every_row_is_zero(rows, dim, dtype, device):
    """By the kernels of few rows and of many, into memory of their own and into ``out``."""
    q, k, v = make(2, 4, 2, rows, 0, dim=dim, dtype=dtype)
    out = torch.full_like(q, float("nan")).to(device)
    assert attend(device, q, k, v, out=out).eq(0).all()
    assert attend(device, q, k, v).eq(0).all()
    rope = rope_frequencies("none", dim, device=device)
    for q_offset in (0, torch.tensor(3, dtype=torch.int32)):
        options = {"positions": torch.arange(0), "rope": rope, "q_offset": q_offset}
        assert attend(device, q, k, v, **options, out=out.fill_(float("nan"))).eq(0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "options",
    [
        {"kv_bounds": torch.tensor([[3, 60], [0, 50]], dtype=torch.int32)},
        {"window": Window(2, block=4, block_start=3, sink=2), "q_offset": 40},
        {"q_offset": torch.tensor(10, dtype=torch.int32)},
    ],
    ids=["padding", "window", "static cache"],
)
def test_nothing_unseen_is_read(options, device):
    """NaN in every key and value that no query of the row sees."""
    q, k, v = make(2, 2, 1, 20, 64)
    seen = seen_keys(2, 20, 64, **options).any(1)
    assert not seen.all()
    expected = attend(device, q, k, v, **options)
    for x in (k, v):
        x.masked_fill_(~seen[:, None, :, None], float("nan"))
    assert torch.equal(attend(device, q, k, v, **options), expected)


def test_writes_all_of_out_and_nothing_else():
    q, k, v = make(2, 4, 2, 30, 30)
    out = Guarded(q.shape, q.dtype)
    assert attention(q, k, v, out=out.tensor) is out.tensor
    assert torch.equal(out.tensor, attention(q, k, v))
    out.assert_intact()
    order = torch.randperm(30)
    attention(q, k, v, order=order, out=out.tensor)
    assert torch.equal(out.tensor, attention(q, k, v, order=order))
    out.assert_intact()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "shape", [(0, 2, 1, 3, 3), (1, 0, 1, 3, 3), (1, 2, 1, 0, 3), (1, 2, 1, 0, 0)]
)
def test_empty(shape, device):
    q, k, v = to_device(make(*shape), device)
    assert attention(q, k, v).shape == q.shape
    assert attention(q, k, v, window=Window(1)).shape == q.shape


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device):
    q, k, v = to_device(make(2, 4, 2, 10, 12), device)
    window = Window(3, block=2, sink=1)
    arguments = to_device(core_arguments(2, 10, 12, window, 2), device)
    differentiable = [x.contiguous().requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(CORE.default, (*differentiable, *arguments))
    torch.library.opcheck(CORE.out, (q, k, v, *arguments), {"out": torch.empty_like(q)})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_a_graph_break(dynamic, device):
    q, k, v = make(2, 4, 2, 12, 12)
    rope, order = (
        rope_frequencies("yarn", 16, factor=2.0, original_max_position=8),
        torch.randperm(12),
    )
    bounds = torch.tensor([[2, 12], [0, 12]], dtype=torch.int32)

    def f(q, k, v, positions, order, bounds):
        window = Window(2, block=3, block_start=bounds[:, 0], sink=1, dense_from=bounds[:, 1])
        return attention(
            q, k, v, rope=rope, positions=positions, order=order, window=window, kv_bounds=bounds
        )

    rope = rope.to(device)
    arguments = to_device((q, k, v, torch.arange(12), order, bounds), device)
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    torch.testing.assert_close(compiled(*arguments), f(*arguments))


def test_gradients_are_those_of_the_definition():
    q, k, v = make(2, 4, 2, 9, 9)
    rope, positions = rope_frequencies("ntk", 16, factor=2.0), torch.arange(9)
    options = {
        "rope": rope,
        "positions": positions,
        "order": torch.randperm(9),
        "window": Window(2, block=2, sink=1),
        "kv_bounds": torch.tensor([[1, 9], [0, 7]], dtype=torch.int32),
    }
    grad = torch.randn(q.shape)
    results = []
    for function in (attention, reference.attention):
        states = [x.clone().requires_grad_() for x in (q, k, v)]
        results.append(torch.autograd.grad(function(*states, **options), states, grad))
    for ours, twin in zip(*results, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-5, atol=1e-6)


Q, K, V = make(2, 4, 2, 6, 6)
ROPE, I32 = rope_frequencies("none", 16), torch.int32
STARTS = torch.zeros(1, dtype=I32)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"q": [1.0]}, TypeError, "q: expected a tensor"),
        ({"q": Q.double()}, TypeError, "q: expected float32, bfloat16 or float16"),
        ({"q": Q[0]}, ValueError, r"q: expected \[B, H, S, D\]"),
        ({"k": K.half()}, TypeError, "k: expected q's dtype"),
        ({"k": K.to("meta")}, ValueError, "k: expected q's device"),
        ({"v": V.mT.contiguous().mT}, ValueError, "v: expected unit stride in D"),
        ({"k": K[:1]}, ValueError, "k: expected batch 2"),
        ({"k": K[..., :8]}, ValueError, "k: expected batch 2 and head_dim 16"),
        ({"v": V[:, :, :5]}, ValueError, "v: expected k's shape"),
        (
            {"k": torch.randn(2, 3, 6, 16), "v": torch.randn(2, 3, 6, 16)},
            ValueError,
            "divides q's 4",
        ),
        ({"rope": ROPE}, ValueError, "positions: expected together with rope"),
        ({"positions": torch.arange(6)}, ValueError, "rope: expected together with positions"),
        ({"rope": 1, "positions": torch.arange(6)}, TypeError, "rope: expected a Rope"),
        (
            {"rope": ROPE, "positions": torch.arange(5)},
            ValueError,
            "positions: expected one for each",
        ),
        ({"window": 3}, TypeError, "window: expected a Window"),
        ({"window": Window(1, dense_from=torch.zeros(3, dtype=I32))}, ValueError, "dense_from"),
        (
            {"window": Window(first_key=torch.zeros(1, 5, dtype=I32))},
            ValueError,
            r"window.first_key: expected \[1 or 2, 6\], got \[1, 5\]",
        ),
        ({"q_offset": 1}, ValueError, "q_offset: expected 0 to 0"),
        ({"q_offset": -1}, ValueError, "q_offset"),
        ({"q_offset": torch.tensor(0)}, TypeError, "q_offset: expected an int or an int32"),
        ({"q_offset": torch.zeros(3, dtype=I32)}, ValueError, "q_offset: expected shape"),
        ({"kv_bounds": torch.zeros(2, 2)}, TypeError, "kv_bounds: expected int32"),
        ({"kv_bounds": torch.zeros(2, 3, dtype=I32)}, ValueError, "kv_bounds: expected shape"),
        ({"scale": math.nan}, ValueError, "scale"),
        ({"order": torch.arange(6.0)}, TypeError, "order: expected int32 or int64"),
        ({"order": torch.arange(5)}, ValueError, "order: expected"),
        ({"order": torch.tensor([0, 1, 2, 3, 4, 4])}, ValueError, "permutation"),
        ({"order": torch.tensor([0, 1, 2, 3, 4, 6])}, ValueError, "permutation"),
        (
            {"order": torch.arange(6), "k": K[:, :, :5], "v": V[:, :, :5]},
            ValueError,
            "whole sequence",
        ),
        ({"out": torch.empty(2, 4, 6, 8)}, ValueError, "out: expected"),
        ({"out": torch.empty(2, 4, 6, 16), "q": Q.clone().requires_grad_()}, ValueError, "grad"),
    ],
)
def test_bad_input(change, error, named):
    with pytest.raises(error, match=named) as caught:
        attention(**{"q": Q, "k": K, "v": V, **change})
    assert str(caught.value).startswith("attention: ")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"size": 0}, ValueError),
        ({"size": 1.5}, TypeError),
        ({"size": True}, TypeError),
        ({"size": 1, "block": 0}, ValueError),
        ({"size": 1, "sink": -1}, ValueError),
        ({"size": 1, "block_start": None}, TypeError),
        ({}, ValueError),
        ({"first_key": 3}, TypeError),
        ({"first_key": torch.zeros(1, 4)}, TypeError),
        ({"first_key": torch.zeros(4, dtype=I32)}, ValueError),
        ({"first_key": torch.zeros(4, 2, dtype=I32).mT}, ValueError),
        ({"first_key": torch.zeros(1, 4, dtype=I32), "size": 2}, ValueError),
        ({"first_key": torch.zeros(1, 4, dtype=I32), "block": 2}, ValueError),
        ({"first_key": torch.zeros(1, 4, dtype=I32), "block_start": STARTS}, ValueError),
        ({"size": 1, "block_start": torch.zeros(2)}, TypeError),
        ({"size": 1, "dense_from": torch.zeros((1, 2), dtype=I32)}, ValueError),
    ],
)
def test_bad_window(arguments, error):
    with pytest.raises(error, match="Window: "):
        Window(**arguments)


def test_the_public_names():
    assert intp_ext.attention is attention and intp_ext.Window is Window
