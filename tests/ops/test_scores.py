"""Scores with a softcap, with sinks, and values narrower than keys: what other decoders need.

Each against transformers' eager functions in the same dtype, or against them written out.
test_cpu_levels.py runs the accuracy tests at each instruction set.
"""

from __future__ import annotations

import math

import pytest
import torch
from ops.devices import DEVICES, to_device
from ops.eager_attention import eager_attention, seen_keys
from ops.kv_checks import check_attention
from ops.kv_inputs import make_states, packing_cache
from tolerance import assert_as_good_as_eager

from intp_ext import (
    Window,
    attention,
    attention_plan,
    cached_attention,
    kv_cache,
    reference,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CORE = torch.ops.intp_ext.attention_core
SINKS = torch.tensor([0.5, -3.0, 4.0, float("-inf"), 30.0, -60.0])


def make(rows, keys, dtype, dim=32, value_dim=None, heads=6, size=1.0):
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, heads, dim), (keys, 2, dim), (keys, 2, value_dim or dim))
    return [
        (size * torch.randn(2, *shape, generator=generator)).to(dtype).transpose(1, 2)
        for shape in shapes
    ]


def check(device, states, *, window=None, kv_bounds=None, **options):
    """The 2x rule for all rows and for the last few alone, which another kernel may take."""
    q, k, v = states
    rows, keys = q.shape[2], k.shape[2]
    at = {"q_offset": keys - rows, "window": window, "kv_bounds": kv_bounds}
    seen = seen_keys(2, rows, keys, **at)
    exact = reference.attention(*(x.double() for x in states), **at, **options)
    eager = eager_attention(q, k, v, seen, **options)
    k, v = (x.masked_fill(~seen.any(1)[:, None, :, None], float("nan")) for x in (k, v))
    there = to_device({"window": window, "kv_bounds": kv_bounds, **options}, device)
    for count in (rows, 3, 1):
        inputs = to_device((q[:, :, -count:], k, v), device)
        if count < rows:  # of the last rows alone, fewer keys may be seen, and none is poison
            inputs = to_device((q[:, :, -count:], *states[1:]), device)
        ours = attention(*inputs, q_offset=keys - count, **there).cpu()
        assert_as_good_as_eager(ours, eager[:, :, -count:], exact[:, :, -count:])


PADDING = torch.tensor([[70, 700], [0, 690]], dtype=torch.int32)
SEEN = {
    "causal": {},
    "padding": {"kv_bounds": PADDING},
    "window": {"window": Window(100, sink=9)},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("softcap", [0.7, 5.0, 50.0])
@pytest.mark.parametrize("seen", SEEN)
def test_softcap_is_as_good_as_eager(seen, softcap, dtype, device):
    check(device, make(60, 700, dtype, size=2.0), softcap=softcap, scale=0.4, **SEEN[seen])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("scale", [0.0, -0.5])
def test_softcap_of_any_scale_is_as_good_as_eager(scale, device):
    check(device, make(60, 700, torch.float32), softcap=3.0, scale=scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seen", SEEN)
def test_sinks_are_as_good_as_eager(seen, dtype, device):
    check(device, make(60, 700, dtype), sinks=SINKS, **SEEN[seen])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("dim", "value_dim"), [(192, 128), (40, 24), (32, 7), (264, 130)])
def test_narrow_values_are_as_good_as_eager(dim, value_dim, dtype, device):
    states = make(60, 330, dtype, dim, value_dim)
    check(device, states, window=Window(200, sink=9))
    check(device, states, window=Window(200, sink=9), sinks=SINKS, softcap=20.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bits", kv_cache.BITS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_over_a_cache_is_as_good_as_eager(dtype, bits, device):
    k, v = make_states(2, 2, 1300, 32, dtype)
    k[:, :, :, 1:3] /= 10  # a softmax of one winner would hide every error,
    v[:, :, 650] /= 10  # and one large value allow for more
    cache = packing_cache(bits)
    cache.append(*to_device((k, v), device), kv_bounds=to_device(PADDING + 600, device))
    q = to_device(make(40, 1, dtype, size=0.5)[0], device)
    sinks = to_device(SINKS, device)
    for options in ({"softcap": 4.0}, {"sinks": sinks}, {"softcap": 4.0, "sinks": sinks}):
        check_attention(cache, q, Window(900, sink=3), last=(3, 1), **options)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 60])
def test_scores_beyond_the_cap(rows, dtype, device):
    """Scores beyond float32 are the cap itself: keys of one weight, and the sink."""
    largest = torch.finfo(dtype).max
    q = torch.full((1, 1, rows, 32), largest).to(dtype)
    k, v = torch.full((1, 1, 300, 32), largest).to(dtype), torch.ones(1, 1, 300, 16).to(dtype)
    q, k, v, sinks = to_device((q, k, v, torch.tensor([2.0])), device)
    out = attention(q, k, v, q_offset=300 - rows, scale=1.0, softcap=2.0, sinks=sinks)
    seen = torch.arange(301 - rows, 301, dtype=torch.float64)[:, None].expand(-1, 16)
    torch.testing.assert_close(out[0, 0].cpu(), (seen / (seen + 1)).to(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rows", [1, 60])
def test_rows_without_a_weight(rows, device):
    """A row that sees no key is zero; so is one whose scores are all -infinity beside a sink."""
    q, k, v = make(rows, 300, torch.float32)
    bounds = torch.tensor([[300, 300], [0, 300]], dtype=torch.int32)
    for sink in (0.0, -200.0, 200.0, float("-inf")):
        options = {"sinks": torch.full((6,), sink), "kv_bounds": bounds, "q_offset": 300 - rows}
        options = to_device(options, device)
        out = attention(*to_device((q, k, v), device), **options).cpu()
        assert out[0].eq(0).all() and out[1].isfinite().all()
        inputs = to_device((torch.ones_like(q), torch.full_like(k, -math.inf), v), device)
        out = attention(*inputs, **options).cpu()
        assert out[0].eq(0).all()
        assert out[1].isnan().all() if sink == -math.inf else out[1].eq(0).all()


def test_sinks_of_either_dtype():
    q, k, v = make(5, 9, torch.bfloat16)
    sinks = SINKS.clamp(min=-100).bfloat16()
    expected = attention(q, k, v, q_offset=4, sinks=sinks.float())
    assert torch.equal(attention(q, k, v, q_offset=4, sinks=sinks), expected)


OPTIONS = {"softcap": 3.0, "sinks": SINKS, "window": Window(7, sink=2), "q_offset": 2}


@pytest.mark.parametrize("shared", [False, True], ids=["", "one tensor for all"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_are_those_of_the_definition(compiled, shared):
    q, k, v = make(10, 12, torch.float32, 16, 8, 2 if shared else 6)
    sinks = SINKS[[0, 2]] if shared else SINKS[[0, 1, 2, 0, 2, 1]]
    found = []
    for function in (attention, reference.attention):
        leaves = [x.clone().requires_grad_() for x in ((k, sinks) if shared else (q, k, v, sinks))]
        options = {**OPTIONS, "sinks": leaves[-1], "q_offset": 0 if shared else 2}
        call = lambda *x, f=function, o=options: f(*x, **o)  # noqa: E731
        if compiled and function is attention:
            torch._dynamo.reset()
            call = torch.compile(call, fullgraph=True, backend="aot_eager")
        out = call(*[leaves[0]] * 3) if shared else call(*leaves[:3])
        grads = torch.autograd.grad(out.sin().sum(), leaves, create_graph=not compiled)
        again = (
            () if compiled else torch.autograd.grad(sum(x.square().sum() for x in grads), leaves)
        )
        found.append((*grads, *again))
    for ours, twin in zip(*found, strict=True):
        torch.testing.assert_close(ours, twin, rtol=2e-4, atol=2e-5)


def test_only_sinks_need_a_gradient():
    q, k, v = make(10, 10, torch.bfloat16)
    sinks = SINKS[:3].repeat(2).bfloat16().requires_grad_()
    (grad,) = torch.autograd.grad(attention(q, k, v, sinks=sinks).float().sum(), sinks)
    assert grad.dtype == torch.bfloat16 and grad.ne(0).any()


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device):
    q, k, v = to_device(make(10, 12, torch.float32, 16, 8), device)
    bounds = torch.tensor([[0, 12, 2, 0, 2**31 - 1]] * 2, dtype=torch.int32, device=device)
    first_key = torch.zeros(1, 10, dtype=torch.int32, device=device)
    sinks = SINKS.to(device)
    arguments = (bounds, None, 1, 0, 0.2, first_key, 3.0, sinks)
    leaves = [x.contiguous().requires_grad_() for x in (q, k, v)]
    torch.library.opcheck(CORE.default, (*leaves, *arguments[:-1], sinks.clone().requires_grad_()))
    torch.library.opcheck(torch.ops.intp_ext.attention_core_no_grad, (q, k, v, *arguments))
    out = q.new_empty(2, 6, 10, 8)
    torch.library.opcheck(CORE.out, (q, k, v, *arguments), {"out": out})


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_without_a_graph_break(dynamic):
    states = make(10, 12, torch.float32, 16, 8)
    torch._dynamo.reset()
    compiled = torch.compile(attention, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    torch.testing.assert_close(compiled(*states, **OPTIONS), attention(*states, **OPTIONS))


@pytest.mark.parametrize("bits", [4, 16])
def test_a_compiled_step_over_a_cache(bits):
    cache = packing_cache(bits, capacity=256)
    cache.append(*make_states(2, 2, 200, 32, torch.float32))
    q = make(20, 1, torch.float32)[0]
    torch._dynamo.reset()

    def step(cache, q, sinks):
        return cached_attention(q, cache, softcap=3.0, sinks=sinks)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(cache, q, SINKS), step(cache, q, SINKS))


def test_order_moves_narrow_values():
    q, k, v = make(12, 12, torch.float32, 16, 8)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    ours = attention(q, k, v, order=order, sinks=SINKS)
    timed = attention(*(x[:, :, order] for x in (q, k, v)), sinks=SINKS)
    assert torch.equal(ours[:, :, order], timed)
    out = torch.empty_like(ours)
    assert torch.equal(attention(q, k, v, order=order, sinks=SINKS, out=out), ours)


def test_a_plan_knows_narrow_values():
    shape = (1, 2, 4000, 192)
    wide, narrow = (attention_plan(shape, shape, value_dim=n) for n in (None, 128))
    assert narrow.scratch_bytes < wide.scratch_bytes and narrow.tasks == wide.tasks
    with pytest.raises(ValueError, match="value_dim: expected at most 192, got 200"):
        attention_plan(shape, shape, value_dim=200)


Q, K, V = make(3, 3, torch.float32)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"softcap": 0.0}, ValueError, "softcap: expected a positive float32, got 0.0"),
        ({"softcap": -5.0}, ValueError, "softcap: expected a positive float32"),
        ({"softcap": 1e39}, ValueError, "softcap: expected a positive float32"),
        ({"softcap": True}, TypeError, "softcap: expected a number"),
        ({"softcap": SINKS}, TypeError, "softcap: expected a number"),
        ({"sinks": [0.0] * 6}, TypeError, "sinks: expected a tensor"),
        ({"sinks": SINKS.bfloat16()}, TypeError, "sinks: expected float32 or q's dtype"),
        ({"sinks": SINKS[:2]}, ValueError, "sinks: expected one for each of q's 6 heads"),
        ({"sinks": SINKS[None]}, ValueError, "sinks: expected one for each of q's 6 heads"),
        ({"sinks": SINKS.to("meta")}, ValueError, "sinks: expected on q's device"),
    ],
)
def test_bad_input(change, error, named):
    with pytest.raises(error, match=f"attention: {named}"):
        attention(Q, K, V, **change)
    cache = packing_cache()
    cache.append(K, V)
    with pytest.raises(error, match=f"cached_attention: {named}"):
        cached_attention(Q, cache, **change)


def test_values_are_no_wider_than_keys():
    with pytest.raises(ValueError, match=r"attention: v: expected k's shape .* or fewer channels"):
        attention(Q, K, torch.zeros(2, 2, 3, 33))
    with pytest.raises(ValueError, match=r"v: expected k's \[2, 2, 3, 32\]"):
        packing_cache().append(K, V[..., :16])


def test_sinks_over_a_cache_need_no_gradient():
    cache = packing_cache()
    cache.append(K, V)
    with pytest.raises(ValueError, match="cached_attention: sinks: expected no grad"):
        cached_attention(Q, cache, sinks=SINKS.clone().requires_grad_())
