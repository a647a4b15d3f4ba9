"""The CUDA kernels against the CPU and the definition; streams, graphs and devices.

What test_attention.py and test_attention_cpu.py ask of attention, they ask on a GPU too.
"""

import pytest
import torch
from ops.eager_attention import eager_attention, seen_keys
from ops.kv_inputs import packing_cache
from tolerance import assert_as_good_as_eager

import intp_ext
from intp_ext import (
    Window,
    apply_rope,
    attention,
    cached_attention,
    kv_cache,
    rearrange,
    reference,
    rope_frequencies,
    token_order,
)

INFO = intp_ext.build_info()
if not INFO["cuda_loaded"]:
    pytest.skip(f"no CUDA operators: {INFO['cuda_loaded_reason']}", allow_module_level=True)
if not torch.cuda.is_available():
    pytest.skip("no GPU that torch can use", allow_module_level=True)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=["current stream", "side stream"])
def stream(request):
    """Every kernel must run on the stream that is current, here also one that is late to begin."""
    if request.param == "current stream":
        yield
        return
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)  # inputs made below are ready only after this
        yield
    side.synchronize()


@pytest.mark.parametrize("grouping", reference.GROUPINGS)
def test_token_order(stream, grouping):
    for args in ((8, 8, 257), (1, 1, 1), (3, 0, 2)):
        got = token_order(*args, grouping, device="cuda")
        assert torch.equal(got.cpu(), reference.token_order(*args, grouping))


@pytest.mark.parametrize("channels", [64, 33, 1, 4096])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint8, torch.complex128], ids=str)
def test_rearrange(stream, dtype, channels):
    features = (torch.randn(2, 300, channels, device="cuda") * 50).to(dtype)
    for order in (torch.randperm(300), torch.randint(0, 300, (2, 123), dtype=torch.int32)):
        got = rearrange(features, order.cuda())
        assert torch.equal(got.cpu(), rearrange(features.cpu(), order))


def test_rearrange_strided_and_unaligned(stream):
    features = torch.full((2, 50, 71), float("nan"), device="cuda")[:, :, 3:68]
    features.copy_(torch.randn(2, 50, 65))
    buffer = torch.full((2, 50, 70), 7.0, device="cuda")
    order = torch.randperm(50, device="cuda")
    rearrange(features, order, out=buffer[:, :, 1:66])
    assert torch.equal(buffer[:, :, 1:66], features[:, order])
    assert (buffer[:, :, 0] == 7).all() and (buffer[:, :, 66:] == 7).all()


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("dim, rotary", [(128, 128), (80, 80), (24, 20), (64, 16), (6, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_apply_rope(stream, dtype, dim, rotary, transposed):
    q, k = (
        torch.randn(2, 37, heads, dim, device="cuda").to(dtype).transpose(1, 2) for heads in (4, 2)
    )
    if not transposed:
        q, k = q.contiguous(), k.contiguous()
    rope = rope_frequencies(
        "yarn", dim, factor=4.0, original_max_position=64, rotary_dim=rotary, device="cuda"
    )
    for order in (None, torch.randperm(37, device="cuda")):
        positions = torch.arange(37, device="cuda") * 101
        got = apply_rope(q, k, positions, rope, order)
        eager = reference.apply_rope(q, k, positions, rope, order)
        angles = reference.rope_angles(positions, rope).double()
        for x, actual, same_dtype in zip((q, k), got, eager, strict=True):
            gathered = x if order is None else reference.gather_tokens(x, order)
            exact = reference.rotate(gathered.double(), angles, rope.attention_scaling)
            assert_as_good_as_eager(actual.cpu(), same_dtype.cpu(), exact.cpu())
            assert actual.stride() == x.stride()


@pytest.mark.parametrize("interleaved", [False, True])
def test_three_axes_equal_the_cpu(stream, interleaved):
    q = torch.randn(2, 4, 37, 64)
    rope = rope_frequencies("none", 64, sections=(8, 12, 12), interleaved_sections=interleaved)
    positions = torch.rand(3, 2, 37) * 500
    got = apply_rope(q.cuda(), None, positions.cuda(), rope.to("cuda"))[0]
    torch.testing.assert_close(got.cpu(), apply_rope(q, None, positions, rope)[0])


def test_rows_out_of_range_give_zeros(stream):
    order = torch.tensor([3, -1, 50, 2**31 - 1], dtype=torch.int32, device="cuda")
    features = torch.randn(1, 50, 64, device="cuda")
    got = rearrange(features, order)
    assert torch.equal(got[:, 0], features[:, 3]) and (got[:, 1:] == 0).all()
    positions = torch.arange(4, device="cuda")
    q = torch.randn(1, 2, 50, 64, device="cuda")
    turned = apply_rope(q, None, positions, rope_frequencies("none", 64, device="cuda"), order)[0]
    assert (turned[:, :, 0] != 0).any() and (turned[:, :, 1:] == 0).all()
    with pytest.raises(ValueError, match="got -1"):
        intp_ext.validate(order, rows=50)


def test_nothing_waits_for_the_device():
    q = torch.randn(1, 4, 64, 64, device="cuda")
    rope, positions = rope_frequencies("none", 64, device="cuda"), torch.arange(64, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        order = token_order(2, 4, 8, device="cuda")
        rearrange(q[0], order)
        apply_rope(q, q, positions, rope, order)
        offset = torch.full((1,), 3, dtype=torch.int32, device="cuda")
        for rows in (1, 40):
            attention(q[:, :, :rows], q, q, rope=rope, positions=positions, q_offset=offset)
        for bits, rotate in ((4, "on_write"), (2, "on_read"), (16, "on_write")):
            cache = packing_cache(bits, rope=rope, rotate=rotate)
            for rows in (64, 1):
                cache.append(q[:, :, :rows], q[:, :, :rows])
                cached_attention(q[:, :, :rows], cache)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_device_mix_is_an_error():
    with pytest.raises(ValueError, match="order: expected on features's device cuda:0, got cpu"):
        rearrange(torch.randn(1, 4, 4, device="cuda"), torch.arange(4))


def test_gradient_equals_the_definition():
    q = torch.randn(2, 4, 20, 64, device="cuda", requires_grad=True)
    rope, positions = rope_frequencies("none", 64, device="cuda"), torch.arange(20, device="cuda")
    order, weight = torch.randperm(20, device="cuda"), torch.randn(2, 4, 20, 64, device="cuda")
    got, expected = (
        torch.autograd.grad(function(q, None, positions, rope, order)[0], q, weight)[0]
        for function in (apply_rope, reference.apply_rope)
    )
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("rows", [1, 70], ids=["decode", "prefill"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_attention(stream, dtype, rows):
    q = torch.randn(2, rows, 8, 128, device="cuda").to(dtype).transpose(1, 2)
    k, v = (torch.randn(2, 2000, 2, 128, device="cuda").to(dtype).transpose(1, 2) for _ in "kv")
    options = {"window": Window(3, block=257, block_start=35, sink=40), "q_offset": 2000 - rows}
    got = attention(q, k, v, **options)
    seen = seen_keys(2, rows, 2000, **options).cuda()
    exact = reference.attention(*(x.double() for x in (q, k, v)), **options)
    assert_as_good_as_eager(got.cpu(), eager_attention(q, k, v, seen).cpu(), exact.cpu())


@pytest.mark.parametrize("rows", [1, 70], ids=["decode", "prefill"])
def test_attention_in_a_graph_reads_offsets_when_it_is_replayed(rows):
    """A static cache that fills: captured once, right at every step."""
    q = torch.randn(2, 8, rows, 64, device="cuda", dtype=torch.bfloat16)
    k, v = (torch.randn(2, 2, 3000, 64, device="cuda", dtype=torch.bfloat16) for _ in "kv")
    offset = torch.zeros(2, dtype=torch.int32, device="cuda")
    bounds = torch.tensor([[0, 3000], [5, 3000]], dtype=torch.int32, device="cuda")

    def call():
        return attention(q, k, v, q_offset=offset, kv_bounds=bounds, window=Window(900, sink=4))

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        call()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    for values in ([0, 10], [2000, 2900], [1234, 7]):
        offset.copy_(torch.tensor(values))
        graph.replay()
        assert torch.equal(captured, call())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_attention_on_another_device_than_the_current_one():
    q = torch.randn(1, 4, 300, 64, device="cuda:1")
    got = attention(q, q, q)
    assert got.device == q.device
    torch.testing.assert_close(got.cpu(), attention(*(q.cpu(),) * 3), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize("bits", kv_cache.BITS)
def test_cache_equals_that_of_the_cpu(stream, bits, rotate):
    """Values bit for bit; keys that were turned may differ by a rounding, and so by a code."""
    k, v = (torch.randn(2, 2, 500, 64, dtype=torch.bfloat16) for _ in "kv")
    rope = rope_frequencies("ntk", 64, factor=4.0)
    caches = [
        packing_cache(bits, rope=rope.to(device), rotate=rotate) for device in ("cpu", "cuda")
    ]
    for begin, end in ((0, 100), (100, 101), (101, 500)):
        for cache, device in zip(caches, ("cpu", "cuda"), strict=True):
            cache.append(*(x[:, :, begin:end].to(device) for x in (k, v)))
    (keys, values), (found_keys, found_values) = (cache.dequantize() for cache in caches)
    assert torch.equal(found_values.cpu(), values)
    if rotate == "on_read":
        assert torch.equal(found_keys.cpu(), keys)
    else:
        step = 8 / (2**bits - 1)  # of values within 4 of zero
        assert (found_keys.cpu() - keys).abs().max() <= 1.01 * step + 0.05
        assert (found_keys.cpu() != keys).float().mean() < 0.01


@pytest.mark.parametrize("bits", [4, 16])
def test_a_decode_step_in_a_graph(bits):
    """Append a token and attend, captured once; replayed with another token."""
    q, k, v = (torch.randn(1, 4, 300, 64, device="cuda", dtype=torch.bfloat16) for _ in "qkv")
    new = [x[:, :, 299:].clone() for x in (q, k, v)]
    cache = packing_cache(bits, capacity=400)
    cache.append(k[:, :, :299], v[:, :, :299])

    def step():
        cache.append(*new[1:])
        out = cached_attention(new[0], cache)
        cache.crop(299)
        return out

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    side.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for seed in range(2):
        torch.manual_seed(seed)
        for x in new:
            x.copy_(torch.randn(x.shape))
        graph.replay()
        assert torch.equal(captured, step())
