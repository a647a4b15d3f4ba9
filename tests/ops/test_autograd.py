"""What autograd is told: what is overwritten, and how a derivative is derived again."""

from __future__ import annotations

import pytest
import torch

import intp_ext
from intp_ext import Window, apply_rope, attention, rearrange, reference, rope_frequencies

ROPE, POSITIONS = rope_frequencies("ntk", 8, factor=2.0), torch.arange(5)
ORDER = torch.tensor([3, 1, 0, 2, 4])
BOUNDS = torch.tensor([[1, 5], [0, 4]], dtype=torch.int32)


def states(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


Q, K, ROWS = states(2, 4, 5, 8), states(2, 2, 5, 8), states(2, 5, 8)

WRITES = {
    "rearrange": lambda out: rearrange(ROWS, ORDER, out=out[0, :2]),
    "apply_rope": lambda out: apply_rope(
        Q, K, POSITIONS, ROPE, out=(out[:, :, :5], torch.empty_like(K))
    ),
    "apply_rope, the second": lambda out: apply_rope(
        Q, K, POSITIONS, ROPE, out=(torch.empty_like(Q), out[:, :2, :5])
    ),
    "apply_rope of q": lambda out: apply_rope(Q, None, POSITIONS, ROPE, out=(out, None)),
    "apply_rope of k": lambda out: apply_rope(None, Q, POSITIONS, ROPE, out=(None, out)),
    "attention": lambda out: attention(Q, K, K, out=out),
    "attention in an order": lambda out: attention(Q, K, K, order=ORDER, out=out),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", WRITES)
def test_a_backward_that_needs_what_out_overwrote_raises(name, compiled):
    """As after ``torch.sin(x, out=...)``."""
    out = torch.ones_like(Q)
    x = torch.randn_like(Q, requires_grad=True)
    loss = (x * out).sum()  # its backward needs out as it is now
    write = WRITES[name]
    if compiled:
        torch._dynamo.reset()
        write = torch.compile(write, fullgraph=True, backend="aot_eager")
    write(out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", WRITES)
def test_out_of_inference_mode(name):
    """Has no version to count, and is read-only outside."""
    with torch.inference_mode():
        out = torch.ones_like(Q)
        WRITES[name](out)
        before = out.clone()
    with pytest.raises(ValueError, match=r"out.*: expected a tensor that may be written.*clone"):
        WRITES[name](out)
    assert torch.equal(out, before)


def second_derivatives(function, inputs):
    """Of a function of the gradients, by every input."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    out = function(*inputs)
    upstream = states(*out.shape).sin().requires_grad_()
    first = torch.autograd.grad((out.sin() * upstream).sum(), inputs, create_graph=True)
    return torch.autograd.grad(sum(x.square().sum() for x in first), (*inputs, upstream))


PAIRS = {
    "rearrange": (lambda module: lambda x: module.rearrange(x, ORDER[:3]), [states(2, 5, 6)]),
    "apply_rope": (
        lambda module: lambda q, k: torch.cat(
            module.apply_rope(q, k, POSITIONS * 0.7, ROPE, ORDER), dim=1
        ),
        [Q, K],
    ),
    "apply_rope of q": (
        lambda module: lambda q: module.apply_rope(q, None, POSITIONS, ROPE)[0], [Q],
    ),
    "attention": (
        lambda module: lambda q, k, v: module.attention(
            q, k, v, window=Window(3, sink=1), kv_bounds=BOUNDS
        ),
        [Q, K, K.flip(2)],
    ),
    "attention with everything": (
        lambda module: lambda q, k, v: module.attention(
            q, k, v, rope=ROPE, positions=POSITIONS, order=ORDER, kv_bounds=BOUNDS
        ),
        [Q, K, K.flip(2)],
    ),
    "attention of one tensor": (lambda module: lambda x: module.attention(x, x, x), [Q]),
    "attention without keys": (
        lambda module: lambda q: module.attention(q, K[:, :, :0], K[:, :, :0]), [Q],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_second_derivatives_are_those_of_the_definition(name):
    make, inputs = PAIRS[name]
    for ours, twin in zip(
        second_derivatives(make(intp_ext), inputs),
        second_derivatives(make(reference), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_compiled_gradients_are_those_of_the_definition(name):
    make, inputs = PAIRS[name]
    torch._dynamo.reset()
    compiled = torch.compile(make(intp_ext), fullgraph=True, backend="aot_eager")
    found = []
    for function in (compiled, make(reference)):
        leaves = [x.clone().requires_grad_() for x in inputs]
        found.append(torch.autograd.grad(function(*leaves).square().sum(), leaves))
    for ours, twin in zip(*found, strict=True):
        torch.testing.assert_close(ours, twin, rtol=2e-4, atol=2e-5)


def test_a_gradient_is_computed_for_what_needs_it_alone():
    q, k = Q.clone().requires_grad_(), K.clone()
    (attention(q, k, k) * 2.0).sum().backward()
    assert q.grad is not None and k.grad is None
    v = K.clone().requires_grad_()
    (grad,) = torch.autograd.grad(attention(Q, K, v).square().sum(), v, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), v)
    twin = reference.attention(Q, K, v).square().sum()
    (grad,) = torch.autograd.grad(twin, v, create_graph=True)
    torch.testing.assert_close(second, torch.autograd.grad(grad.sum(), v)[0])
