"""The CUDA kernels of the KV cache, run on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from cuda_on_host.cache_case import AppendCase, CachedCase, cuda_operators
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.eager_attention import first_keys
from ops.kv_inputs import make_states, packing_cache

import intp_ext
from intp_ext import Window, cached_attention, kv_cache, reference_kv

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
ROPE = intp_ext.rope_frequencies("ntk", 16, factor=4.0)
YARN = intp_ext.rope_frequencies("yarn", 24, factor=2.0, original_max_position=64)
AXES = intp_ext.rope_frequencies("none", 32, sections=(4, 6, 6))

APPENDS = {
    "one call": AppendCase(pieces=(200,)),
    "a token": AppendCase(pieces=(1,)),
    "no group": AppendCase(pieces=(30, 20)),
    "a group by a later call": AppendCase(pieces=(40, 60, 1, 27, 70), rope=ROPE),
    "a group and as many rows as the one before": AppendCase(pieces=(63, 64), rope=ROPE),
    "groups of two pages": AppendCase(pieces=(100, 60, 140), key_group=128, rope=ROPE),
    "a group of 640 tokens, without a table of sines": AppendCase(
        pieces=(700,), key_group=640, dim=80, rope=intp_ext.rope_frequencies("none", 64)
    ),
    "a narrow last group": AppendCase(dim=80, value_group=48),
    "groups of 16": AppendCase(dim=128, value_group=16, pieces=(64,)),
    "padding": AppendCase(batch=3, bounds=((0, 150), (70, 150), (64, 64)), pieces=(100, 50)),
    "padding behind": AppendCase(batch=2, bounds=((0, 140), (3, 90)), rope=ROPE),
    "gathered": AppendCase(batch=2, order=True, rope=ROPE, pieces=(90, 80)),
    "three axes": AppendCase(batch=2, rope=AXES, axes=3),
    "unrotated": AppendCase(rope=ROPE, rotate="on_read"),
    "half of the channels turned, not on 16 bytes": AppendCase(rope=YARN, dim=48),
    "blocks of one head": AppendCase(heads=5, multiprocessors=64, rope=ROPE),
    "blocks of all heads": AppendCase(heads=5, multiprocessors=1, rope=ROPE, pieces=(200, 9)),
    "recent rows": AppendCase(recent=100, pieces=(90, 60, 70, 1, 99), rope=ROPE),
    "recent rows, groups of two pages": AppendCase(
        recent=70,
        pieces=(260, 150, 40),
        key_group=128,
        rope=ROPE,
        batch=2,
        bounds=((0, 450), (9, 450)),
    ),
    "sinks": AppendCase(sink=4, batch=2, pieces=(2, 130, 20), rope=ROPE),
    "sinks after padding": AppendCase(
        sink=40, batch=3, bounds=((0, 200), (50, 200), (130, 200)), pieces=(70, 30, 100), rope=ROPE
    ),
    "sinks of a prompt in one call": AppendCase(sink=100, heads=3, pieces=(260,), recent=64),
    "more slots than tokens": AppendCase(sink=100, pieces=(70,)),
    "a row without a real token": AppendCase(sink=4, batch=2, bounds=((150, 150), (0, 150))),
    "gathered sinks": AppendCase(sink=70, batch=2, order=True, rope=ROPE, pieces=(90, 80)),
    "nothing but recent rows": AppendCase(recent=200, pieces=(90, 60)),
    "16 bits": AppendCase(bits=16, pieces=(70, 1, 30), rope=ROPE),
    "16 bits of a strange head": AppendCase(bits=16, dim=33, batch=2, order=True),
    "16 bits, padded": AppendCase(bits=16, batch=2, bounds=((5, 150), (0, 150))),
}


@pytest.mark.parametrize("case", APPENDS)
def test_append_stores_what_the_definition_says(library, case):
    APPENDS[case].check(library)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", [2, 2.5, 3, 8])
def test_append_of_every_width(library, bits, dtype):
    AppendCase(bits, dtype, pieces=(70, 70), rope=ROPE).check(library)


@settings(max_examples=10)
@given(
    case=st.builds(
        AppendCase,
        bits=st.sampled_from(kv_cache.BITS),
        dtype=st.sampled_from(DTYPES),
        batch=st.just(2),
        heads=st.integers(1, 3),
        dim=st.sampled_from([32, 48, 80]),
        pieces=st.lists(st.integers(0, 140), max_size=2).map(lambda x: (*x, 1 + sum(x) % 70)),
        rope=st.sampled_from([None, ROPE, YARN]),
        rotate=st.just("on_write"),
        order=st.booleans(),
        bounds=st.sampled_from([None, ((0, 99), (30, 1000))]),
        key_group=st.sampled_from([64, 128]),
        value_group=st.sampled_from([16, 48, 64]),
        recent=st.sampled_from([0, 1, 64, 100]),
        sink=st.sampled_from([0, 1, 4, 90]),
        layout=st.sampled_from(["transposed", "contiguous", "poisoned"]),
        multiprocessors=st.sampled_from([1, 64]),
        seed=st.integers(0, 100),
    )
)
def test_any_append_stores_what_the_definition_says(library, case):
    case.check(library)


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), -3e38])
def test_what_is_not_finite_poisons_its_group(library, bad):
    """It cannot be refused without waiting for the device, and is not swallowed either."""
    k, v = make_states(1, 1, 130, 32, torch.bfloat16)
    k[0, 0, 70:72, 5] = v[0, 0, 80, 7:9] = torch.tensor([bad, 3e38])  # or a range of infinity
    cache = packing_cache(4)
    with cuda_operators(library):
        cache.append(k, v)
    k_ranges, v_ranges = cache.pages()[2:]
    where = torch.zeros(2, 2, 32, dtype=torch.bool)
    where[1, :, 5] = True
    assert torch.equal(k_ranges[0, 0].isnan(), where)
    where = torch.zeros(2, 1, 2, 64, dtype=torch.bool)
    where[1, :, :, 16] = True
    assert torch.equal(v_ranges[0, 0].isnan(), where)


def test_append_refuses_a_head_that_does_not_fit(library):
    k = torch.zeros(1, 1, 64, 512)
    with cuda_operators(library), pytest.raises(ValueError, match="fit into 99 KiB"):
        packing_cache(4).append(k, k)


HALVES = [torch.bfloat16, torch.float16]
ROPE_64 = intp_ext.rope_frequencies("ntk", 64, factor=4.0)
ROPE_16 = intp_ext.rope_frequencies("none", 64, rotary_dim=16)
ROPE_20 = intp_ext.rope_frequencies("none", 64, rotary_dim=20)
AXES_64 = intp_ext.rope_frequencies("ntk", 64, factor=4.0, sections=(8, 11, 13))
MIXED_64 = intp_ext.rope_frequencies("none", 64, sections=(12, 10, 10), interleaved_sections=True)
MIXED_20 = intp_ext.rope_frequencies(
    "none", 64, rotary_dim=20, sections=(4, 3, 3), interleaved_sections=True
)
FRAMES = Window(2, 51, 5, 9, 430)

CACHED = {
    "pages alone": CachedCase(length=256),
    "an unfinished group": CachedCase(length=319),
    "one row of it": CachedCase(length=257, kv_heads=2, batch=2),
    "an unfinished group of two pages": CachedCase(length=250, key_group=128),
    "recent rows": CachedCase(length=450, recent=150, kv_heads=2),
    "recent rows among splits": CachedCase(length=1400, recent=1000, multiprocessors=9, rows=3),
    "a sink": CachedCase(sink=4, length=300, kv_heads=2),
    "a sink across pages": CachedCase(sink=70, length=300, rows=20),
    "a sink after padding": CachedCase(sink=9, batch=3, pad=60, length=330),
    "a sink of every token": CachedCase(sink=400, length=300),
    "a sink in pages and in rows": CachedCase(sink=250, length=300, recent=100),
    "a sink among splits": CachedCase(sink=30, length=1500, multiprocessors=3, rows=3),
    "a sink that the window hides": CachedCase(sink=4, length=450, window=Window(100)),
    "a sink that the window shows": CachedCase(sink=40, length=450, window=Window(100, sink=20)),
    "a sink without pages of the first split": CachedCase(
        sink=4, length=900, window=Window(300), multiprocessors=9
    ),
    "a sink turned when read": CachedCase(
        sink=30, rope=ROPE_64, rotate="on_read", batch=2, pad=50, rows=3
    ),
    "a sink of three axes": CachedCase(sink=30, rope=AXES_64, rotate="on_read", axes=3, batch=2),
    "a sink, plain": CachedCase(sink=30, dim=144, length=200, batch=2, pad=20),
    "a sink turned when read, plain": CachedCase(sink=30, rope=ROPE_20, rotate="on_read"),
    "GQA": CachedCase(kv_heads=2, group=7),
    "a full tile of rows": CachedCase(group=8, rows=2),
    "several tiles of rows": CachedCase(group=3, rows=30, length=200),
    "a whole prompt": CachedCase(rows=140, length=140),
    "splits": CachedCase(length=1500, multiprocessors=3),
    "more splits than pages of a warp": CachedCase(length=1400, multiprocessors=60, kv_heads=2),
    "many pages of a warp": CachedCase(length=2300, dim=32),
    "padding": CachedCase(batch=3, pad=75, length=280),
    "window": CachedCase(length=700, window=Window(100)),
    "window within the unfinished group": CachedCase(length=300, window=Window(20)),
    "frames, sink, dense rows": CachedCase(length=500, rows=100, window=FRAMES, batch=2, pad=75),
    "a gap of whole pages": CachedCase(length=900, window=Window(40, sink=70)),
    "splits of a window": CachedCase(
        length=1900, window=Window(900, sink=5), multiprocessors=9, rows=3
    ),
    "first keys": CachedCase(
        batch=2,
        pad=75,
        length=700,
        rows=40,
        window=Window(first_key=first_keys(2, 40, 660, span=400), sink=80),
        multiprocessors=3,
    ),
    "decode of first keys": CachedCase(
        batch=2, group=7, length=700, window=Window(first_key=first_keys(2, 1, 699, span=400))
    ),
    "a softcap": CachedCase(softcap=3.0, length=450, rows=20),
    "sinks": CachedCase(sinks=(0.5, -3.0), length=1500, multiprocessors=3),
    "sinks and a softcap": CachedCase(sinks=(0.5, -3.0), softcap=9.0, length=100, scale=-0.3),
    "sees nothing": CachedCase(batch=2, pad=300),
    "narrow groups": CachedCase(value_group=16, dim=128),
    "a narrow last group": CachedCase(value_group=48, dim=80),
    "turned when read": CachedCase(rope=ROPE_64, rotate="on_read", batch=2, pad=75),
    "in uneven steps": CachedCase(rope=ROPE_64, rotate="on_read", uneven=True, batch=2, rows=30),
    "a quarter of the head turned": CachedCase(rope=ROPE_16, rotate="on_read"),
    "no multiple of 16 turned": CachedCase(rope=ROPE_20, rotate="on_read", length=200),
    "by three axes": CachedCase(rope=AXES_64, rotate="on_read", axes=3, batch=2, rows=3),
    "by axes that alternate": CachedCase(rope=MIXED_64, rotate="on_read", axes=3, batch=2),
    "by axes of a part of the head": CachedCase(rope=AXES, rotate="on_read", axes=3, length=200),
    "by three axes, plain": CachedCase(
        rope=MIXED_20, rotate="on_read", axes=3, batch=2, length=200
    ),
    "sections, but one axis": CachedCase(rope=AXES_64, rotate="on_read", length=200),
    "not on 16 bytes": CachedCase(shifted=True),
    "a wide head": CachedCase(dim=144, length=200),
    "a scale of zero": CachedCase(scale=0.0),
    "a negative scale": CachedCase(scale=-0.3, rows=9),
}

# more rows of a key head than are read over pages as they lie
MANY_ROWS = {
    "a prompt": CachedCase(rows=70, length=200, recent=20, sink=4),
    "a chunk of one": CachedCase(rows=80, length=450, kv_heads=2, recent=70, multiprocessors=8),
    "padding, and a sink after it": CachedCase(
        rows=90, batch=2, pad=75, sink=100, length=330, key_group=128
    ),
    "a window": CachedCase(rows=40, length=700, window=Window(3, 16, sink=70)),
    "first keys": CachedCase(
        batch=2,
        rows=66,
        group=1,
        length=500,
        window=Window(first_key=first_keys(2, 66, 434, span=100), sink=3),
    ),
    "scores": CachedCase(rows=40, softcap=3.0, sinks=(0.5, -3.0), scale=-0.3, sink=4),
    "a wide head, by the plain kernel": CachedCase(rows=35, dim=272, length=150),
    "a head of 192": CachedCase(rows=35, dim=192, length=150, value_group=48),
    "queries not on 16 bytes": CachedCase(rows=40, shifted=True),
    "turned when read": CachedCase(rows=40, rope=ROPE_64, rotate="on_read", batch=2, pad=75),
    "any part turned": CachedCase(rows=40, rope=ROPE_20, rotate="on_read", length=200, sink=4),
    "by three axes": CachedCase(rows=40, rope=MIXED_64, rotate="on_read", axes=3, batch=2),
    "nothing packed yet": CachedCase(rows=40, length=90, recent=90),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", MANY_ROWS)
def test_pages_become_rows_for_many_queries(library, case, dtype):
    replace(MANY_ROWS[case], dtype=dtype).check(library)


@pytest.mark.parametrize("bits", reference_kv.BITS)
@pytest.mark.parametrize("dim", [16, 80, 128])
def test_pages_of_every_width_become_rows(library, bits, dim):
    """Rows of every dtype have the same codes: one dtype does."""
    CachedCase(bits, dim=dim, rows=35, length=200, batch=2).check(library)


@pytest.mark.parametrize("case", CACHED)
def test_cached_attention_is_as_good_as_eager(library, case):
    CACHED[case].check(library)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", reference_kv.BITS)
@pytest.mark.parametrize("dim", [16, 128])
def test_cached_attention_of_every_width(library, bits, dtype, dim):
    CachedCase(bits, dtype, dim=dim, rows=3, multiprocessors=2).check(library)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", [2, 2.5, 3, 8, 16])
@pytest.mark.parametrize("rows", [1, 20])
def test_turned_when_read_at_every_width(library, bits, dtype, rows):
    CachedCase(bits, dtype, rope=ROPE_64, rotate="on_read", rows=rows, length=200).check(library)


@st.composite
def cached_problems(draw):
    rows = draw(st.sampled_from([1, 2, 9, 40, 70]))
    length = rows + draw(st.sampled_from([63, 64, 130, 400, 900]))
    window = None
    if draw(st.booleans()):
        window = Window(
            draw(st.integers(1, 3)), draw(st.sampled_from([1, 16, 64, 100])),
            draw(st.integers(-70, 300)), draw(st.sampled_from([0, 3, 64, 300])),
            draw(st.one_of(st.none(), st.integers(0, length))),
        )  # fmt: skip
    dim = draw(st.sampled_from([16, 64, 80, 128]))
    rope = draw(st.sampled_from([None, intp_ext.rope_frequencies("none", dim)]))
    return CachedCase(
        bits=draw(st.sampled_from(reference_kv.BITS)),
        dtype=draw(st.sampled_from([*HALVES, *DTYPES])),
        batch=2,
        kv_heads=draw(st.integers(1, 2)),
        group=draw(st.integers(1, 3)),
        rows=rows,
        length=length,
        dim=dim,
        rope=rope,
        rotate=draw(st.sampled_from(["on_write", "on_read"])) if rope else "on_write",
        window=window,
        pad=draw(st.sampled_from([0, 1, 64, 90])),
        key_group=draw(st.sampled_from([64, 128])),
        value_group=draw(st.sampled_from([16, 48, 64])),
        recent=draw(st.sampled_from([0, 50, 128])),
        sink=draw(st.sampled_from([0, 4, 100])),
        multiprocessors=draw(st.sampled_from([1, 4, 40])),
        seed=draw(st.integers(0, 100)),
    )


@settings(max_examples=15)
@given(case=cached_problems())
def test_any_cached_problem_is_as_good_as_eager(library, case):
    case.check(library)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_poisoned_group_is_not_swallowed(library, dtype):
    k, v = make_states(1, 1, 200, 32, dtype)
    k[0, 0, 70, 5] = float("inf")
    cache = packing_cache(4)
    with cuda_operators(library):
        cache.append(k, v)
        q = torch.randn(1, 2, 1, 32).to(dtype)
        assert cached_attention(q, cache).isnan().all()
        assert cached_attention(q, cache, window=Window(72)).isfinite().all()


def launch(library, case: CachedCase) -> int:
    """Bytes of shared memory of a block of the one kernel that so short a cache takes."""
    library.set_multiprocessors(1)
    case = replace(case, length=200)
    cache = case.cache()
    with cuda_operators(library):
        cached_attention(case.queries(cache), cache)
    return library.last_shared()


def test_shared_memory_is_what_is_published(library, published):
    for bits in reference_kv.BITS:
        found = {"128": launch(library, CachedCase(bits))}
        assert found == published[f"packed, {bits} bits"]


def test_what_takes_the_plain_kernel(library, published):
    plain = launch(library, CachedCase(dtype=torch.float32))
    for case in ("a wide head", "no multiple of 16 turned", "not on 16 bytes"):
        assert launch(library, CACHED[case]) == plain, case
    for case in ("turned when read", "a quarter of the head turned", "GQA", "a negative scale"):
        assert launch(library, CACHED[case]) == published["packed, 4 bits"]["128"], case
