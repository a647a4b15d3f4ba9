"""cached_attention: over what the cache holds, as good as eager PyTorch over it, whatever is read.

test_cpu_levels.py runs the accuracy tests at each instruction set.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.eager_attention import first_keys
from ops.kv_checks import check_attention as check
from ops.kv_checks import make_queries
from ops.kv_inputs import dequantized, fill, make_states, packing_cache
from ops.magnitudes import MAGNITUDES, make_winners
from tolerance import assert_as_good_as_eager
from torch._dynamo.testing import CompileCounterWithBackend

import intp_ext
from intp_ext import (
    Bounds,
    Window,
    attention,
    cached_attention,
    kv_cache,
    reference,
    reference_kv,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def make_rope(dim, factor=4.0, **axes):
    return intp_ext.rope_frequencies("ntk", dim, factor=factor, **axes)


AXES = {  # of 32 channels
    "one after another": {"sections": (4, 6, 6)},
    "alternating": {"sections": (6, 5, 5), "interleaved_sections": True},
    "none of time": {"sections": (0, 9, 7)},
}


def grid_positions(length, rows=6, columns=7, text=40):
    """``[3, 1, length]`` of text, then frames of rows x columns patches: those of M-RoPE."""
    patch = torch.arange(length - text)
    axes = (patch // (rows * columns), patch // columns % rows, patch % columns)
    video = torch.stack(axes) + text
    return torch.cat((torch.arange(text).expand(3, text), video), dim=1)[:, None]


def make_cache(
    bits, dtype, *, rotate=None, dim=64, length=700, batch=2, heads=2, pad=0, device="cpu", **groups
):
    k, v = make_states(batch, heads, length, dim, dtype)
    k[:, :, :, 1:3] /= 10  # a softmax of one winner would hide every error,
    v[:, :, length // 2] /= 10  # and one large value allow for more
    rope = None if rotate is None else make_rope(dim)
    cache = packing_cache(bits, rope=rope, rotate=rotate or "on_write", **groups)
    lo = torch.arange(batch, dtype=torch.int32) * pad
    bounds = torch.stack((lo, torch.full_like(lo, length)), dim=1)
    positions = None
    if rope is not None:
        positions = (torch.arange(length) - lo[:, None]).clamp(min=0) * 0.8
    bounds = bounds if pad else None
    if rope is not None:
        cache.set_rope(rope.to(device))
    k, v, positions, bounds = to_device((k, v, positions, bounds), device)
    cache.append(k, v, positions, kv_bounds=bounds)
    return cache


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", kv_cache.BITS)
@pytest.mark.parametrize("rotate", [None, "on_write", "on_read"])
@pytest.mark.parametrize("device", DEVICES)
def test_as_good_as_eager(bits, dtype, rotate, device):
    cache = make_cache(bits, dtype, rotate=rotate, pad=75, device=device)
    check(cache, make_queries(cache, 3, 40), last=(1,))


WINDOWS = {
    "tokens": Window(100),
    "frames": Window(2, 51, torch.tensor([5, 80], dtype=torch.int32), 5),
    "sink": Window(1, 64, 0, 70),
    "dense": Window(1, 16, 0, 0, torch.tensor([699, 800], dtype=torch.int32)),
    "first keys": Window(first_key=first_keys(2, 200, 500), sink=5, dense_from=690),
    "the same for all rows": Window(first_key=first_keys(1, 200, 500)),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize("bits", [2, 2.5, 8])
@pytest.mark.parametrize(("dtype", "size"), MAGNITUDES, ids=str)
def test_magnitude_is_as_good_as_eager(dtype, size, bits, rotate, device):
    """The largest score has a weight of 1, whatever its product with the scale is rounded to."""
    q, k, v = to_device(make_winners(40, 1100, dtype, size), device)
    cache = packing_cache(
        bits, rope=intp_ext.rope_frequencies("none", 64, device=device), rotate=rotate
    )
    cache.append(k, v, torch.zeros(1100, device=device))
    exact = (x.cpu().double() for x in (q, *dequantized(cache)))
    exact = reference.attention(*exact, q_offset=1060)
    eager = (x.cpu().float() for x in (q, *cache.dequantize()))
    eager = reference.attention(*eager, q_offset=1060).to(dtype)
    for rows in (40, 1):
        ours = cached_attention(q[:, :, -rows:], cache).cpu()
        assert_as_good_as_eager(ours, eager[:, :, -rows:], exact[:, :, -rows:])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("device", DEVICES)
def test_windows(window, device):
    for dtype in DTYPES[:2]:
        cache = make_cache(4, dtype, pad=75, key_group=128, value_group=48, device=device)
        q, there = make_queries(cache, 2, 200), to_device(WINDOWS[window], device)
        check(cache, q, there, last=(3, 1))


@st.composite
def problems(draw):
    dim = draw(st.sampled_from([16, 32, 64, 80, 128, 256]))
    rotate = draw(st.sampled_from([None, "on_write", "on_read"]))
    rows = draw(st.sampled_from([1, 2, 9, 70, 300]))
    length = rows + draw(st.sampled_from([0, 1, 62, 63, 64, 500, 1100, 2100]))
    cache = {
        "bits": draw(st.sampled_from(kv_cache.BITS)),
        "dtype": draw(st.sampled_from(DTYPES)),
        "rotate": rotate,
        "dim": dim,
        "length": length,
        "heads": draw(st.integers(1, 2)),
        "pad": draw(st.sampled_from([0, 1, 64, 130])),
        "key_group": draw(st.sampled_from([64, 128])),
        "value_group": draw(st.sampled_from([16, 32, 64])),
    }
    window = None
    if draw(st.booleans()):
        window = Window(
            draw(st.integers(1, 3)), draw(st.sampled_from([1, 16, 257])),
            draw(st.integers(-70, 300)), draw(st.sampled_from([0, 3, 300])),
            draw(st.one_of(st.none(), st.integers(0, length))),
        )  # fmt: skip
    return cache, draw(st.sampled_from([1, 2, 7])), rows, window


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=25)
@given(problem=problems())
def test_any_problem_keeps_the_rule(device, problem):
    options, group, rows, window = problem
    cache = make_cache(**options, device=device)
    check(cache, make_queries(cache, group, rows), window)


@pytest.mark.parametrize("bits", reference_kv.BITS)
@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_visible_is_not_read(bits, device):
    """Reserved pages, rows of earlier tokens, and everything outside the window hold NaN."""
    cache = make_cache(bits, torch.bfloat16, dim=32, device=device)
    q = make_queries(cache, 2, 1)
    clean = cached_attention(q, cache, window=Window(130))
    for name, x in cache._buffers.items():
        used, nan = cache._memory.used()[name].shape[2], float("nan")
        if x.dtype == torch.uint8:
            x[:, :, used:] = 255
        else:
            x[:, :, used:] = nan
    cache._buffers["k_ranges"][:, :, :8] = float("nan")  # the window begins in group 8
    cache._buffers["v_ranges"][:, :, :8] = float("nan")
    assert torch.equal(cached_attention(q, cache, window=Window(130)), clean)


def test_chunks_and_tokens_make_the_answer_of_one_pass():
    """A prompt in chunks, then tokens: each row as good as the whole sequence at 16 bits."""
    k, v = make_states(1, 2, 300, 32, torch.float32)
    k = k / 10
    q = torch.randn(1, 4, 300, 32)
    rope = make_rope(32)
    exact = attention(q, k, v, rope=rope, positions=torch.arange(300))
    for rotate in ("on_write", "on_read"):
        cache = packing_cache(16, rope=rope, rotate=rotate)
        for begin, end in ((0, 100), (100, 298), (298, 299), (299, 300)):
            cache.append(k[:, :, begin:end], v[:, :, begin:end])
            out = cached_attention(q[:, :, begin:end], cache)
            torch.testing.assert_close(out, exact[:, :, begin:end], rtol=0, atol=2e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 40])
def test_a_new_rope_is_one_from_the_start(dtype, rows):
    """Re-interpolated, unrotated keys are those of a cache that was built so."""
    k, v = make_states(1, 2, 500, 64, dtype)
    k[..., 1:3] /= 10
    old, new = make_rope(64, 1.0), make_rope(64, 4.0)
    positions = torch.arange(500) * 0.5
    for bits in (16, 4):
        grown = packing_cache(bits, rope=old, rotate="on_read")
        grown.append(k, v)
        q = make_queries(grown, 2, rows)
        before = cached_attention(q, grown)
        grown.set_rope(new)
        grown.set_positions(positions)
        check(grown, q)
        fresh = packing_cache(bits, rope=new, rotate="on_read")
        fresh.append(k, v, positions)
        assert torch.equal(cached_attention(q, grown), cached_attention(q, fresh))
        assert not torch.equal(cached_attention(q, grown), before)
    # at 16 bits also as good as keys that were rotated by it when they were written
    reread, written = (
        packing_cache(16, rope=new, rotate=rotate) for rotate in ("on_read", "on_write")
    )
    for cache in (reread, written):
        cache.append(k, v, positions)
    exact = reference.attention(
        q.double(), k.double(), v.double(), rope=new, positions=positions, q_offset=500 - rows
    )
    ours, theirs = (cached_attention(q, cache) for cache in (reread, written))
    assert_as_good_as_eager(ours, theirs, exact)


def test_positions_that_are_not_evenly_spaced():
    """No two pages share their sines."""
    k, v = make_states(1, 1, 700, 32, torch.float32)
    k[..., 1:3] /= 10
    torch.manual_seed(0)
    cache = packing_cache(4, rope=make_rope(32), rotate="on_read")
    cache.append(k, v, torch.rand(700).cumsum(0) + torch.randint(0, 1000, (700,)))
    check(cache, make_queries(cache, 2, 40), last=(1,))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", kv_cache.BITS)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("device", DEVICES)
def test_three_axes_are_as_good_as_eager(axes, bits, dtype, device):
    """Of two videos whose frames have other sizes, so that no page is like the next one."""
    k, v = make_states(2, 2, 700, 32, dtype)
    k[..., 1:3] /= 10
    rope = make_rope(32, **AXES[axes])
    positions = torch.cat((grid_positions(700), grid_positions(700, 8, 8, 64)), dim=1)
    k, v, positions = to_device((k, v, positions), device)
    cache = packing_cache(bits, rope=rope.to(device), rotate="on_read")
    cache.append(k, v, positions)
    check(cache, make_queries(cache, 3, 40), last=(1,))


@pytest.mark.parametrize("bits", [4, 16])
def test_three_axes_that_agree_are_one(bits):
    """To the bit, whether text alone is cached or a video comes later."""
    k, v = make_states(1, 2, 300, 32, torch.float32)
    one, three = (
        packing_cache(bits, rope=make_rope(32, **axes), rotate="on_read")
        for axes in ({}, AXES["alternating"])
    )
    for cache, positions in ((one, torch.arange(300)), (three, torch.arange(300).expand(3, 1, -1))):
        cache.append(k, v, positions)
    for rows in (1, 40):
        q = make_queries(one, 2, rows)
        assert torch.equal(cached_attention(q, one), cached_attention(q, three))


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("axes", AXES)
def test_a_new_rope_and_new_positions_of_three_axes(axes, bits):
    """Of one axis at first: as if they had been there from the start."""
    k, v = make_states(2, 2, 500, 32, torch.float32)
    k[..., 1:3] /= 10
    new = make_rope(32, **AXES[axes])
    positions = grid_positions(500).float() * 0.5
    grown = packing_cache(bits, rope=make_rope(32, 1.0), rotate="on_read")
    grown.append(k, v)
    grown.set_rope(new)
    grown.set_positions(positions)
    fresh = packing_cache(bits, rope=new, rotate="on_read")
    fresh.append(k, v, positions)
    assert torch.equal(grown.positions, fresh.positions)
    for rows in (1, 40):
        q = make_queries(grown, 2, rows)
        check(grown, q)
        assert torch.equal(cached_attention(q, grown), cached_attention(q, fresh))
    grown.set_positions(torch.arange(500))  # one stands for three
    assert torch.equal(grown.positions, torch.arange(500.0).expand(3, 2, -1))
    with pytest.raises(ValueError, match=r"sections for cached positions \[3, 2, 500\]"):
        grown.set_rope(make_rope(32))
    assert grown.rope.sections == new.sections
    grown.reset()
    grown.set_rope(make_rope(32))
    grown.append(k, v)
    assert grown.positions.shape == (2, 500)


EVERY = torch.arange(700.0)
UNEVEN = torch.randint(0, 3, (700,), generator=torch.Generator().manual_seed(0)).cumsum(0)
# name -> (positions, largest difference of a weighted sum of values)
TURNS = {
    "even": (EVERY, 2e-5),
    "fractions": (EVERY * 0.7, 2e-5),
    "uneven": (UNEVEN, 2e-5),
    "even to 6e4": (EVERY + 6e4, 4e-3),
    "fractions to 6e4": (EVERY * 0.7 + 6e4, 4e-3),
    "uneven to 6e4": (UNEVEN + 6e4, 2e-5),
    "across the limit": (EVERY + 65200, 4e-3),
    "even beyond": (EVERY + 1e5, 2e-5),
    "fractions beyond": (EVERY * 0.7 + 1e5, 2e-5),
    "even at 9e6": (EVERY + 9e6, 2e-5),
    "uneven at 9e6": (UNEVEN + 9e6, 2e-5),
    "fractions at 9e6": (EVERY * 0.7 + 9e6, 2e-5),
    "below zero": (EVERY - 9e6, 2e-5),
}


@pytest.mark.parametrize("fastest", [1.0, 3.0])
@pytest.mark.parametrize("case", TURNS)
def test_decode_turns_keys_as_prefill_does(case, fastest):
    """And both as the definition does, which has angles in float32 too."""
    positions, most = TURNS[case]
    k, v = make_states(1, 1, 700, 32, torch.float32)
    k[..., 1:3] /= 10
    rope = make_rope(32)
    rope = intp_ext.Rope(rope.inv_freq * fastest, 1.1)
    cache = packing_cache(8, rope=rope, rotate="on_read")
    cache.append(k, v, positions)
    q = make_queries(cache, 2, 40)
    prefill, decode = (cached_attention(q[:, :, -rows:], cache)[:, :, -1] for rows in (40, 1))
    found_k, found_v = cache.dequantize()
    options = {"positions": cache.positions, "rope": rope, "q_offset": 699}
    definition = reference.attention(q[:, :, -1:], found_k, found_v, **options)[:, :, 0]
    torch.testing.assert_close(prefill, definition, rtol=0, atol=2e-5)
    torch.testing.assert_close(decode, definition, rtol=0, atol=most)


@pytest.mark.parametrize("case", TURNS)
def test_decode_turns_keys_by_every_axis_for_itself(case):
    """Pages that share the sines of an axis, and not those of another one; 9e6 steps of the slow
    frequencies of the last axis are not far yet."""
    positions, most = TURNS[case]
    k, v = make_states(1, 1, 700, 32, torch.float32)
    k[..., 1:3] /= 10
    q = make_queries(fill(packing_cache(8), k, v), 2, 1)
    for at in range(3):
        axes = [EVERY, UNEVEN.float(), EVERY // 64]
        axes[at] = positions.float()
        rope = make_rope(32, **AXES["one after another"])
        cache = packing_cache(8, rope=rope, rotate="on_read")
        cache.append(k, v, torch.stack(axes)[:, None])
        found_k, found_v = cache.dequantize()
        options = {"positions": cache.positions, "rope": rope, "q_offset": 699}
        definition = reference.attention(q, found_k, found_v, **options)
        torch.testing.assert_close(
            cached_attention(q, cache), definition, rtol=0, atol=max(most, 1e-4)
        )


def test_the_number_of_threads_changes_no_bit():
    cache = make_cache(4, torch.bfloat16, length=2300, dim=32)
    before = torch.get_num_threads()
    for rows in (1, 60):
        q, results = make_queries(cache, 2, rows), []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                results.append(cached_attention(q, cache))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
def test_operator_passes_opcheck(rotate):
    cache = make_cache(4, torch.bfloat16, rotate=rotate, dim=32, length=150, batch=1)
    q, (k, v) = make_queries(cache, 2, 2), cache.rows()
    sinks = (*cache.held()[0][-2:], None)
    bounds = Bounds.of(None, batch=1, queries=2, keys=150, device=q.device, q_offset=148).rows
    rope = (cache.positions, cache.rope.inv_freq) if rotate == "on_read" else (None, None)
    turns = [(*rope, 1.0, None, False)]
    if rotate == "on_read":
        turns.append((rope[0].repeat(3, 1, 1), rope[1], 1.0, [4, 6, 6], True))
    for turn in turns:
        torch.library.opcheck(
            torch.ops.intp_ext.kv_attention,
            (
                q,
                k,
                v,
                *cache.pages(),
                *sinks,
                150,
                128,
                4,
                4,
                64,
                64,
                *turn,
                bounds,
                None,
                1,
                0,
                0.2,
            ),
        )


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize("bits", [4, 16])
def test_compiles_once_for_the_prompt_and_once_for_every_token(bits, rotate, axes):
    """Append and attend in one graph, over the ends of groups; then the eager calls go on."""
    window = Window(64, sink=4)

    def step(cache, q, k, v, positions=None, kv_bounds=None):
        cache.append(k, v, positions, kv_bounds=kv_bounds)
        return cached_attention(q, cache, window=window)

    torch._dynamo.reset()
    graphs = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, fullgraph=True, backend=graphs)
    rope = make_rope(32, **(AXES["alternating"] if axes == 3 else {}))
    caches = [packing_cache(bits, rope=rope, rotate=rotate, capacity=256) for _ in range(2)]
    generator = torch.Generator().manual_seed(5)

    def check(count, function, **options):
        shapes = [(2, heads, count, 32) for heads in (4, 2, 2)]
        new = [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]
        if axes == 3:
            new.append(torch.rand(3, 2, count, generator=generator) * 50)
        out = [f(c, *new, **options) for f, c in zip((step, function), caches, strict=True)]
        assert torch.equal(*out)

    padding = torch.tensor([[0, 60], [7, 60]], dtype=torch.int32)
    check(60, compiled, kv_bounds=padding)
    for _ in range(75):  # groups end after 4 tokens and after 68
        check(1, compiled)
    assert graphs.frame_count == 2
    check(1, step)
    assert caches[0].length == caches[1].length == 136
    assert torch.equal(caches[0].kv_bounds, caches[1].kv_bounds)
    assert torch.equal(caches[0].positions, caches[1].positions)
    check(1, compiled)
    assert graphs.frame_count == 2


def test_a_compiled_append_beyond_the_capacity_leaves_the_cache_as_it_was():
    k, v = make_states(1, 2, 64, 32, torch.bfloat16)
    cache = packing_cache(4, capacity=64)
    append = torch.compile(lambda k, v: cache.append(k, v), fullgraph=True, backend="aot_eager")
    append(k, v)
    before = cache.dequantize()
    with pytest.raises(ValueError, match="expected at most 64 tokens"):
        append(k, v)
    assert cache.length == 64
    assert all(torch.equal(a, b) for a, b in zip(before, cache.dequantize(), strict=True))


def tensors(**changes):
    return torch.zeros(*{"batch": 1, "heads": 4, "rows": 1, "dim": 32, **changes}.values())


BAD = {
    "type": (tensors().tolist(), {}, TypeError, "q: expected a tensor"),
    "dtype": (tensors().double(), {}, TypeError, "q: expected"),
    "cache's dtype": (tensors().half(), {}, TypeError, "q: expected the cache's"),
    "heads": (tensors(heads=3), {}, ValueError, "multiple of 2 heads"),
    "dim": (tensors(dim=64), {}, ValueError, "head_dim 32"),
    "rows": (tensors(rows=99), {}, ValueError, "at most the 70 tokens"),
    "device": (tensors().to("meta"), {}, ValueError, "expected on cpu"),
    "bounds": (tensors(), {"kv_bounds": torch.zeros(2, 2).int()}, ValueError, "kv_bounds"),
    "window": (tensors(), {"window": 3}, TypeError, "window: expected a Window"),
    "scale": (tensors(), {"scale": float("nan")}, ValueError, "scale: expected a finite"),
    "grad": (tensors().requires_grad_(), {}, ValueError, "no grad"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    q, options, error, message = BAD[case]
    cache = fill(packing_cache(4), *make_states(1, 2, 70, 32, torch.float32))
    with pytest.raises(error, match=message):
        cached_attention(q, cache, **options)


def test_bad_cache():
    with pytest.raises(TypeError, match="cache: expected a KVCache, got Tensor"):
        cached_attention(tensors(), tensors())
    with pytest.raises(ValueError, match="empty cache"):
        cached_attention(tensors(), packing_cache(4))


def test_no_queries():
    cache = fill(packing_cache(4), *make_states(1, 2, 70, 32, torch.float32))
    assert cached_attention(tensors(rows=0), cache).shape == (1, 4, 0, 32)


@torch.library.custom_op("intp_ext_tests::fail_if", mutates_args=())
def fail_if(flag: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A later part of a compiled step that runs out of memory, say."""
    if flag:
        raise RuntimeError("asked to fail")
    return x.clone()


@fail_if.register_fake
def _(flag, x):
    return torch.empty_like(x)


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("begin", ["empty", "eager", "compiled"])
def test_a_compiled_step_that_fails_leaves_the_cache_as_it_was(bits, begin):
    """Whoever wrote before it, and over the end of a group: every step is tried twice."""

    def step(cache, flag, q, k, v, kv_bounds=None):
        cache.append(k, v, kv_bounds=kv_bounds)
        return fail_if(flag, cached_attention(q, cache))

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="eager")  # writes in place, as inductor
    caches = [packing_cache(bits, rope=make_rope(32), capacity=256) for _ in range(2)]
    generator = torch.Generator().manual_seed(6)
    no, yes = torch.tensor(False), torch.tensor(True)

    def held(cache):
        if cache.shape is None:
            return cache.length
        return cache.length, *cache.dequantize(), cache.positions, cache.kv_bounds

    def states(count):
        shapes = [(2, heads, count, 32) for heads in (4, 2, 2)]
        return [torch.randn(shape, generator=generator) for shape in shapes]

    def check(count, **options):
        new = states(count)
        before = held(caches[0])
        with pytest.raises(RuntimeError, match="asked to fail"):
            compiled(caches[0], yes, *new, **options)
        torch.testing.assert_close(held(caches[0]), before, rtol=0, atol=0)
        ours = compiled(caches[0], no, *new, **options)
        assert torch.equal(ours, step(caches[1], no, *new, **options))

    padding = torch.tensor([[0, 60], [7, 60]], dtype=torch.int32)
    if begin == "empty":
        check(60, kv_bounds=padding)
    else:
        new = states(60)
        first = compiled if begin == "compiled" else step
        for cache, function in zip(caches, (first, step), strict=True):
            function(cache, no, *new, kv_bounds=padding)
    for _ in range(9):  # a group ends after 4
        check(1)
    check(1, kv_bounds=torch.tensor([[0, 70], [9, 70]], dtype=torch.int32))
    assert caches[0].length == 70
