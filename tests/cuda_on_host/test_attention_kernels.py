"""The CUDA kernels of attention, run on the CPU."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from cuda_on_host.attention_case import LAYOUTS, AttentionCase
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.eager_attention import first_keys
from ops.magnitudes import MAGNITUDES, make_winners
from tolerance import assert_as_good_as_eager

from intp_ext import Window, attention_plan, reference

HALVES = [torch.bfloat16, torch.float16]
DTYPES = [*HALVES, torch.float32]
WINDOW = Window(3, block=20, block_start=5, sink=9, dense_from=180)

# rows and keys around tiles of 128 (64, 16) rows and 64 (16) keys
CASES = {
    "several tiles": AttentionCase(rows=300, keys=300),
    "GQA": AttentionCase(batch=2, kv_heads=2, group=3, rows=50, keys=80),
    "one short of a tile": AttentionCase(rows=127, keys=191),
    "one more than a tile": AttentionCase(rows=129, keys=193),
    "fewer keys than a tile": AttentionCase(rows=20, keys=20),
    "window": AttentionCase(rows=260, keys=300, window=Window(70)),
    "frames, sink, dense rows": AttentionCase(group=2, rows=120, keys=200, window=WINDOW),
    "sink beside the window": AttentionCase(rows=200, keys=200, window=Window(3, 30, 10, 70)),
    "a gap of whole tiles": AttentionCase(rows=30, keys=400, window=Window(40, sink=5)),
    "first keys": AttentionCase(
        batch=2,
        group=2,
        rows=150,
        keys=400,
        window=Window(first_key=first_keys(2, 150, 250), sink=9, dense_from=380),
    ),
    "first keys, padding": AttentionCase(
        batch=2,
        rows=90,
        keys=90,
        window=Window(first_key=first_keys(1, 90, 0)),
        kv_bounds=((70, 90), (0, 80)),
    ),
    "splits of first keys": AttentionCase(
        rows=40,
        keys=900,
        window=Window(first_key=first_keys(1, 40, 860, span=600), sink=5),
        multiprocessors=8,
    ),
    "decode of first keys": AttentionCase(
        batch=2,
        group=4,
        rows=3,
        keys=500,
        window=Window(first_key=first_keys(2, 3, 497)),
        multiprocessors=3,
    ),
    "padding": AttentionCase(batch=2, rows=90, keys=90, kv_bounds=((70, 90), (0, 80))),
    "rows that see nothing": AttentionCase(batch=2, rows=90, keys=90, kv_bounds=((80, 85), (5, 5))),
    "static cache": AttentionCase(batch=2, rows=30, keys=260, q_offset=(150, 17)),
    "queries beyond the keys": AttentionCase(rows=40, keys=20, q_offset=0),
    "no keys": AttentionCase(rows=20, keys=0, q_offset=0),
    "decode of no keys": AttentionCase(group=3, rows=2, keys=0, q_offset=0, multiprocessors=4),
    "splits": AttentionCase(rows=40, keys=700, multiprocessors=4),
    "splits of a window": AttentionCase(rows=150, keys=900, window=WINDOW, multiprocessors=8),
    "more splits than tiles": AttentionCase(rows=40, keys=900, q_offset=10, multiprocessors=9),
    "decode": AttentionCase(batch=2, kv_heads=2, rows=1, keys=200),
    "decode, GQA, splits": AttentionCase(group=7, rows=1, keys=1100, multiprocessors=3),
    "decode of two": AttentionCase(group=8, rows=2, keys=300, multiprocessors=2),
    "decode, window": AttentionCase(group=4, rows=1, keys=700, window=Window(9, 20, 3, 40)),
    "decode of a static cache": AttentionCase(
        batch=2,
        group=2,
        rows=1,
        keys=900,
        q_offset=(30, 500),
        kv_bounds=((0, 31), (40, 501)),
        multiprocessors=8,
    ),
    "decode that sees nothing": AttentionCase(
        rows=1, keys=600, kv_bounds=((600, 600),), multiprocessors=2
    ),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_case_is_as_good_as_eager(library, case, dtype):
    dataclasses.replace(CASES[case], dtype=dtype).check(library)


@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dim", [8, 32, 40, 64, 72, 80, 96, 128, 160, 192, 256, 264])
def test_head_dim_is_as_good_as_eager(library, dim, rows):
    window = Window(50, sink=9)
    AttentionCase(group=2, rows=rows, keys=150, dim=dim, window=window).check(library)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dim", [32, 33])
def test_layout_is_as_good_as_eager(library, dim, rows, layout):
    """A shifted one, and every head_dim that is no multiple of 8, is not on 16 bytes."""
    AttentionCase(2, 2, 2, rows, 90, dim, layout=layout).check(library)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [0.0, -0.3, 2.0])
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
def test_scale_is_as_good_as_eager(library, rows, scale, dtype):
    AttentionCase(rows=rows, keys=100, dim=32, dtype=dtype, scale=scale).check(library)


@pytest.mark.parametrize("multiprocessors", [1, 4], ids=["whole", "splits"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize(
    "options",
    [
        {"softcap": 3.0, "keys": 400},
        {"softcap": 50.0, "scale": -0.4},
        {"softcap": 2.0, "scale": 0.0},
        {"sinks": (0.5, -3.0, 4.0)},
        {"sinks": (30.0, float("-inf"), 0.0), "kv_bounds": ((600, 600), (0, 590))},
        {"dim": 192, "value_dim": 128, "softcap": 20.0, "sinks": (1.0,)},
        {"dim": 40, "value_dim": 24},
        {"dim": 33, "value_dim": 7},
        {"dim": 264, "value_dim": 136},
    ],
    ids=str,
)
def test_scores_and_widths_are_as_good_as_eager(library, options, rows, dtype, multiprocessors):
    case = AttentionCase(batch=2, kv_heads=2, group=2, rows=rows, keys=600, dtype=dtype)
    replace = {**options, "multiprocessors": multiprocessors}
    dataclasses.replace(case, **replace).check(library)


@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_without_a_weight_is_zero_beside_a_sink(library, dtype, rows):
    """Scores of -infinity alone, with splits and without."""
    q, k = (torch.ones(1, 2, n, 64).to(dtype) for n in (rows, 600))
    bounds = torch.tensor([[0, 600, 600 - rows, 0, 2**31 - 1]], dtype=torch.int32)
    options = (bounds, None, 1, 0, 1.0, None, None)
    for multiprocessors in (1, 4):
        library.set_multiprocessors(multiprocessors)
        for sink in (-200.0, 0.0, 200.0):
            out = library.ops.attention_core(q, k * -math.inf, k, *options, torch.full((2,), sink))
            assert out.eq(0).all()


@pytest.mark.parametrize("multiprocessors", [1, 4], ids=["whole", "splits"])
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize(("dtype", "size"), [x for x in MAGNITUDES if x[1] > 1.0], ids=str)
def test_magnitude_is_as_good_as_eager(library, dtype, size, rows, multiprocessors):
    """The largest score has a weight of 1, whatever its product with the scale is rounded to."""
    library.set_multiprocessors(multiprocessors)
    bounds = torch.tensor([[0, 600, 600 - rows, 0, 2**31 - 1]], dtype=torch.int32)
    for scale in (0.125, -0.7):
        q, k, v = make_winners(rows, 600, dtype, size, scale)
        options = (bounds, None, 1, 0, scale)
        exact = reference.attention_core(*(x.double() for x in (q, k, v)), *options)
        eager = reference.attention_core(*(x.float() for x in (q, k, v)), *options).to(dtype)
        assert_as_good_as_eager(library.ops.attention_core(q, k, v, *options), eager, exact)


@pytest.mark.parametrize("multiprocessors", [1, 4], ids=["whole", "splits"])
@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_scores_beyond_float32_are_nan(library, dtype, rows, multiprocessors):
    """As in eager PyTorch: no row that sees keys is zero."""
    library.set_multiprocessors(multiprocessors)
    q = torch.full((1, 1, rows, 64), torch.finfo(dtype).max, dtype=dtype)
    bounds = torch.tensor([[0, 600, 600 - rows, 0, 2**31 - 1]], dtype=torch.int32)
    for score in (3.0, -3.0):
        k = torch.full((1, 1, 600, 64), score, dtype=dtype)
        out = library.ops.attention_core(q, k, k, bounds, None, 1, 0, 1.0)
        assert out.isnan().all()


@st.composite
def problems(draw):
    """Shapes that cross tiles, by every path of every kernel."""
    rows = draw(st.sampled_from([1, 2, 7, 16, 17, 60, 130]))
    keys = rows + draw(st.sampled_from([0, 1, 63, 200, 600]))
    q_offset = draw(st.integers(0, keys - rows))
    window = None
    if draw(st.booleans()):
        window = Window(
            size=draw(st.integers(1, 3)),
            block=draw(st.sampled_from([1, 16, 64, 100])),
            block_start=draw(st.integers(-70, 300)),
            sink=draw(st.sampled_from([0, 3, 64, 300])),
            dense_from=draw(st.one_of(st.none(), st.integers(0, keys))),
        )
        if draw(st.booleans()):
            window = Window(
                first_key=first_keys(2, rows, q_offset, span=draw(st.sampled_from([1, 40, 700]))),
                sink=window.sink,
                dense_from=window.dense_from,
            )
    bounds = None
    if draw(st.booleans()):
        ends = [(draw(st.integers(0, keys)), draw(st.integers(0, keys))) for _ in range(2)]
        bounds = tuple(tuple(sorted(row)) for row in ends)
    return AttentionCase(
        batch=2,
        kv_heads=draw(st.integers(1, 2)),
        group=draw(st.integers(1, 3)),
        rows=rows,
        keys=keys,
        dim=draw(st.sampled_from([24, 32, 33, 64, 80, 96, 128, 192, 256])),
        dtype=draw(st.sampled_from(DTYPES)),
        layout=draw(st.sampled_from(LAYOUTS)),
        window=window,
        q_offset=q_offset,
        kv_bounds=bounds,
        multiprocessors=draw(st.sampled_from([1, 4, 20])),
        value_dim=draw(st.sampled_from([None, 8, 17, 24])),
        softcap=draw(st.sampled_from([None, None, 2.0, 30.0])),
        sinks=draw(st.sampled_from([None, None, (0.0, -2.0, 3.0)])),
        seed=draw(st.integers(0, 1000)),
    )


@settings(max_examples=40)
@given(case=problems())
def test_any_problem_is_as_good_as_eager(library, case):
    case.check(library)


@pytest.mark.parametrize("rows", [1, 60], ids=["decode", "prefill"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_in_a_visible_key_is_not_swallowed(library, dtype, rows):
    q, k, v = (torch.randn(1, 1, n, 32).to(dtype) for n in (rows, 300, 300))
    k[0, 0, 250] = float("nan")
    bounds = torch.tensor([[0, 300, 300 - rows, 0, 2**31 - 1]], dtype=torch.int32)
    library.set_multiprocessors(1)
    out = library.ops.attention_core(q, k, v, bounds, None, 1, 0, 0.2)
    nan = torch.arange(300 - rows, 300) >= 250
    assert torch.equal(out.isnan().all(-1)[0, 0], nan)
    assert torch.equal(out.isnan().any(-1)[0, 0], nan)


def test_the_cases_reach_every_kernel():
    """As the plan has it, so that no grid above runs past a kernel without a word."""
    plans = [
        attention_plan(
            (case.batch, case.kv_heads * case.group, case.rows, case.dim),
            (case.batch, case.kv_heads, max(case.keys, 1), case.dim),
            dtype,
            device="cuda",
            multiprocessors=case.multiprocessors,
        )
        for case in CASES.values()
        for dtype in DTYPES
    ]
    reached = {(plan.kernel, plan.scratch_bytes > 0) for plan in plans}
    assert reached == {(k, split) for k in ("prefill", "decode", "plain") for split in (0, 1)}


# kernel -> (rows, dtype) of a call that it takes
CALLS = {
    "prefill": (60, torch.bfloat16),
    "decode": (1, torch.bfloat16),
    "plain": (60, torch.float32),
}


def test_shared_memory_is_what_is_published(library, published):
    table = [(kernel, dim, size) for kernel in CALLS for dim, size in published[kernel].items()]
    bounds = torch.tensor([[0, 60, 0, 0, 2**31 - 1]], dtype=torch.int32)
    library.set_multiprocessors(1)
    launched = []
    for kernel, dim, _ in table:
        rows, dtype = CALLS[kernel]
        q, k = (torch.randn(1, 1, n, int(dim)).to(dtype) for n in (rows, 60))
        library.ops.attention_core(q, k, k, bounds, None, 1, 0, 1.0)
        launched.append((kernel, dim, library.last_shared()))
    assert launched == table
