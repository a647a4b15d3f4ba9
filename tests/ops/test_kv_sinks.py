"""The first real tokens of a row stay exact, whatever happens to the cache around them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.faults import each_fault
from ops.kv_checks import (
    assert_same,
    assert_stores,
    check_attention,
    make_queries,
    poison_sinks,
)
from ops.kv_inputs import fill, make_states, packing_cache

import intp_ext
from intp_ext import KVCache, Window, cached_attention, reference_kv

BITS = reference_kv.BITS
# per row: no padding, on the left, on both sides, nothing but padding
BOUNDS = torch.tensor([[0, 333], [70, 333], [126, 190], [333, 333]], dtype=torch.int32)


def make_rope(dim=32, **options):
    return intp_ext.rope_frequencies("ntk", dim, factor=4.0, **options)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=40)
@given(
    bits=st.sampled_from([*BITS, 16]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    recent=st.sampled_from([0, 1, 100, 400]),
    sink=st.sampled_from([0, 1, 4, 70, 400]),
    key_group=st.sampled_from([64, 128]),
    pieces=st.lists(st.integers(0, 150), max_size=6),
    capacity=st.sampled_from([None, 400]),
    rotate=st.sampled_from(["on_write", "on_read"]),
    gathered=st.booleans(),
    seed=st.integers(0, 9),
)
def test_any_pieces_store_what_the_definition_says(
    device, bits, dtype, recent, sink, key_group, pieces, capacity, rotate, gathered, seed
):
    k, v = make_states(4, 2, 333, 32, dtype, seed)
    index = torch.arange(333)
    kept = (BOUNDS[:, :1] <= index) & (index < BOUNDS[:, 1:])
    rope = make_rope(device=device)
    options = {"rope": rope, "rotate": rotate, "key_group": key_group, "recent": recent}
    whole, parts = (packing_cache(bits, sink=sink, capacity=c, **options) for c in (None, capacity))
    k, v, bounds = to_device((k, v, BOUNDS), device)
    whole.append(k, v, kv_bounds=bounds)
    begin = 0
    for count in (*pieces, 333):
        end = min(begin + count, 333)
        piece, order = [x[:, :, begin:end] for x in (k, v)], None
        if gathered:
            order = torch.randperm(end - begin, generator=torch.Generator().manual_seed(seed))
            piece = [x[:, :, order.argsort()] for x in piece]
            order = order.to(device)
        parts.append(*piece, order=order, kv_bounds=bounds.clamp(max=end))
        begin = end
    assert_same(whole, parts)
    turned = k
    if rotate == "on_write":
        _, turned = intp_ext.apply_rope(None, k, torch.arange(333, device=device), rope)
    assert_stores(parts, turned.cpu(), v.cpu(), kept)
    if bits != 16:
        first = torch.tensor([0, 70, 126, reference_kv.NO_TOKEN])
        exact = reference_kv.is_sink(index, first, sink) | (index >= parts.packed)
        exact = (exact & kept)[:, None, :, None]
        for x, given in zip(parts.dequantize(), (turned, v), strict=True):
            assert torch.equal(x.cpu().where(exact, 0.0), given.cpu().where(exact, 0.0))


@dataclass
class Model:
    """A cache as the definition has it: what each token is read as."""

    options: dict
    k: torch.Tensor
    v: torch.Tensor
    kept: torch.Tensor  # [B, length]
    first: torch.Tensor
    packed: int = 0

    @property
    def length(self) -> int:
        return self.k.shape[2]

    def append(self, k, v, kept) -> None:
        begin, group = self.length, self.options["key_group"]
        self.k, self.v = torch.cat((self.k, k), 2), torch.cat((self.v, v), 2)
        self.kept = torch.cat((self.kept, kept), 1)
        none = reference_kv.NO_TOKEN
        index = torch.arange(begin, self.length)
        fresh = torch.cat((index.where(kept, none), torch.full((2, 1), none)), 1).amin(1)
        self.first = self.first.where(self.first < none, fresh)
        packed = reference_kv.packed_tokens(self.length, group, self.options["recent"], self.packed)
        part = slice(self.packed, packed)
        if packed > self.packed:
            sinks = reference_kv.is_sink(
                torch.arange(self.packed, packed), self.first, self.options["sink"]
            )
            self.k, self.v = self.k.clone(), self.v.clone()
            self.k[:, :, part], self.v[:, :, part] = reference_kv.packed_states(
                self.k[:, :, part], self.v[:, :, part], self.options["bits"], group, 64,
                self.kept[:, part], sinks,
            )  # fmt: skip
        self.packed = packed

    def crop(self, length: int) -> None:
        self.k, self.v = self.k[:, :, :length], self.v[:, :, :length]
        self.kept = self.kept[:, :length]
        self.first = self.first.masked_fill(self.first >= length, reference_kv.NO_TOKEN)
        group = self.options["key_group"]
        self.packed = min(self.packed, length // group * group)

    def reorder(self, rows: torch.Tensor) -> None:
        self.k, self.v, self.kept, self.first = (
            x[rows] for x in (self.k, self.v, self.kept, self.first)
        )

    def check(self, cache: KVCache) -> None:
        assert (cache.length, cache.packed) == (self.length, self.packed)
        if not self.length:
            return
        kept = self.kept[:, None, :, None]
        for ours, expected in zip(cache.dequantize(), (self.k, self.v), strict=True):
            assert torch.equal(ours.where(kept, 0.0), expected.where(kept, 0.0))


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 150)),
    st.tuples(st.just("crop"), st.floats(0, 1)),
    st.tuples(st.just("try and rewind"), st.integers(0, 150)),
    st.tuples(st.just("reorder"), st.lists(st.integers(0, 1), min_size=2, max_size=2)),
    st.tuples(st.just("save and load"), st.none()),
)


@settings(deadline=None, max_examples=60)
@given(
    bits=st.sampled_from(BITS),
    recent=st.sampled_from([0, 30, 128]),
    sink=st.sampled_from([0, 4, 70]),
    key_group=st.sampled_from([64, 128]),
    capacity=st.sampled_from([None, 1200]),
    pad=st.integers(0, 200),
    steps=st.lists(STEPS, min_size=2, max_size=8),
)
def test_any_steps_leave_what_the_definition_says(
    bits, recent, sink, key_group, capacity, pad, steps
):
    """The second row begins with so much padding."""
    options = {"bits": bits, "recent": recent, "sink": sink, "key_group": key_group}
    cache = packing_cache(**options, capacity=capacity)
    empty = torch.zeros(2, 2, 0, 16, dtype=torch.bfloat16)
    model = Model(
        options, empty, empty, torch.zeros(2, 0, dtype=torch.bool),
        torch.full((2,), reference_kv.NO_TOKEN),
    )  # fmt: skip
    pads, seed = torch.tensor([0, pad]), 0

    def append(count, to):
        begin = cache.length
        k, v = (x[:, :, 1:] for x in make_states(2, 2, count + 1, 16, torch.bfloat16, seed))
        kept = torch.arange(begin, begin + count) >= pads[:, None]
        bounds = torch.stack((pads, torch.full((2,), begin + count)), 1).int()
        cache.append(k, v, kv_bounds=bounds)
        to.append(k, v, kept)

    for kind, value in [("append", 100), *steps]:
        seed += 1
        if kind == "append":
            append(value, model)
        elif kind == "crop":
            model.crop(int(value * cache.length))
            cache.crop(int(value * cache.length))
        elif kind == "try and rewind":
            mark = cache.mark(value)
            append(value, replace(model))
            cache.crop(cache.length - value // 3)
            cache.rewind(mark)
        elif kind == "reorder":
            cache.reorder(torch.tensor(value))
            model.reorder(torch.tensor(value))
            pads = pads[value]
        else:
            loaded = packing_cache(**options, capacity=capacity)
            loaded.load_state_dict(cache.state_dict())
            cache = loaded
        model.check(cache)


@pytest.mark.parametrize("rotate", [None, "on_write", "on_read"])
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "window", [None, Window(100), Window(1, 64, 0, 70), Window(40, sink=3)], ids=str
)
@pytest.mark.parametrize("device", DEVICES)
def test_attention_is_as_good_as_eager(bits, rotate, window, device):
    """With sinks within a page, across pages, in rows; and hidden by the window. Every dtype meets
    every place of the sink, at another width."""
    places = [(4, 128, 400), (90, 0, 450), (300, 100, 250)]
    turn = BITS.index(bits) % 3
    places = places[turn:] + places[:turn]
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    for dtype, (sink, recent, length) in zip(dtypes, places, strict=True):
        rope = make_rope(device=device) if rotate else None
        cache = make_cache(
            bits, dtype, length, device=device, rope=rope, rotate=rotate or "on_write",
            sink=sink, recent=recent,
        )  # fmt: skip
        poison_sinks(cache)
        check_attention(cache, make_queries(cache, 3, 40), window, last=(1,))


def make_cache(bits, dtype, length, device="cpu", **options):
    """Rows with padding of 0, 75 and 126 tokens; the sink's keys and values stand out."""
    pads = torch.tensor([0, 75, 126])
    k, v = make_states(3, 2, length, 32, dtype)
    k[..., 1:3] /= 10
    k *= 0.3
    for b, pad in enumerate(pads):
        k[b, :, pad : pad + 4, 5] += 4
        v[b, :, pad : pad + 4] *= 0.1
    bounds = torch.stack((pads, torch.full((3,), length)), 1).int()
    k, v, bounds = to_device((k, v, bounds), device)
    cache = packing_cache(bits, **options)
    cache.append(k, v, kv_bounds=bounds)
    return cache


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("axes", [(), (4, 6, 6)])
def test_a_sink_is_turned_as_rows_are(rows, axes):
    """Unrotated in the cache, to the bit what a cache of rows alone makes of it."""
    k, v = make_states(1, 1, 64, 32, torch.float32)
    rope = make_rope(sections=axes or None)
    positions = torch.rand(3, 1, 64) * 50 if axes else torch.rand(1, 64) * 50
    caches = [
        packing_cache(4, rope=rope, rotate="on_read", sink=64, recent=recent) for recent in (0, 64)
    ]
    for cache in caches:
        cache.append(k, v, positions)
    assert caches[0].packed == 64 and caches[1].packed == 0
    q = make_queries(caches[0], 2, rows)
    found = [cached_attention(q, cache) for cache in caches]
    torch.testing.assert_close(*found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bits", BITS)
def test_outliers_of_a_sink_spoil_no_scale(bits):
    k, v = make_states(1, 1, 128, 32, torch.float32)
    loud = k.clone()
    loud[:, :, :4] *= 1000
    found = [fill(packing_cache(bits, sink=4), x, v) for x in (k, loud)]
    ranges = [cache.pages()[2] for cache in found]
    assert torch.equal(*ranges)
    assert torch.equal(found[1].dequantize()[0][:, :, :4], loud[:, :, :4])
    assert torch.equal(*(cache.dequantize()[0][:, :, 4:] for cache in found))


def test_a_row_begins_where_its_first_real_token_is_cached():
    """In a later call, or again after a crop that forgets it."""
    k, v = make_states(2, 1, 200, 16, torch.float32)

    def put(cache, begin, end, lo):
        bounds = torch.tensor([[lo, end], [0, end]], dtype=torch.int32)
        cache.append(k[:, :, begin:end], v[:, :, begin:end], kv_bounds=bounds)
        return cache.state_dict()["first"].tolist()

    none = reference_kv.NO_TOKEN
    cache = packing_cache(4, sink=4)
    assert put(cache, 0, 100, 100) == [none, 0]
    assert put(cache, 100, 150, 120) == [120, 0]
    assert put(cache, 150, 200, 130) == [120, 0]  # fixed
    assert torch.equal(cache.dequantize()[0][0, :, 120:124], k[0, :, 120:124])
    cache.crop(122)
    assert cache.state_dict()["first"].tolist() == [120, 0]
    cache.crop(110)
    assert cache.state_dict()["first"].tolist() == [none, 0]
    assert put(cache, 110, 200, 130) == [130, 0]
    cache.reorder(torch.tensor([1, 0, 0]))
    assert cache.state_dict()["first"].tolist() == [0, 130, 130]
    cache.reset()
    assert cache.state_dict()["first"] is None


def test_16_bits_have_no_sink():
    k, v = make_states(1, 1, 100, 32, torch.bfloat16)
    caches = [
        fill(packing_cache(16, **options), k, v) for options in ({}, {"sink": 9, "recent": 30})
    ]
    assert_same(*caches)
    assert caches[1].sink == 9 and caches[1].recent == 30


def test_bytes_count_rows_and_sinks():
    k, v = make_states(2, 3, 1000, 32, torch.bfloat16)
    plain, kept = (fill(packing_cache(4, **x), k, v) for x in ({}, {"sink": 4, "recent": 128}))
    assert (plain.packed, kept.packed) == (960, 832)
    token = 2 * 2 * 3 * 32  # heads and channels of keys and values
    packed_token = (
        2 * 3 * (32 * (4 / 8 + 4 / 64) + 32 * 4 / 8 + 4)
    )  # ranges of 64 tokens, 32 channels
    assert kept.nbytes - plain.nbytes == 128 * (2 * token - packed_token) + 4 * 2 * token + 2 * 4
    assert kept.nbytes <= kept.nbytes_allocated


@pytest.mark.parametrize("capacity", [None, 400])
def test_a_failure_at_any_operator_leaves_the_cache_as_it_was(capacity):
    options = {"recent": 30, "sink": 90}
    k, v = make_states(2, 2, 250, 32, torch.float32)
    bounds = torch.tensor([[0, 60], [50, 60]], dtype=torch.int32)

    def make(**more):
        cache = packing_cache(4, **options, **more)
        cache.append(k[:, :, :60], v[:, :, :60], kv_bounds=bounds)
        return cache

    cache, held = make(capacity=capacity), make()
    for call in (lambda c: c.append(k[:, :, 60:], v[:, :, 60:]), lambda c: c.crop(55)):
        failures = 0
        for _ in each_fault(lambda call=call: call(cache)):
            assert_same(cache, held)
            failures += 1
        assert failures >= 2
        call(held)
        assert_same(cache, held)


def test_refuses_a_sink_that_is_not_finite_and_stays_as_it_was():
    k, v = make_states(1, 2, 100, 32, torch.float32)
    cache = fill(packing_cache(4, sink=80), k[:, :, :50], v[:, :, :50])
    before = cache.state_dict()["tensors"]
    worse = v[:, :, 50:].clone()
    worse[0, 1, 20, 3] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        cache.append(k[:, :, 50:], worse)
    after = cache.state_dict()["tensors"]
    assert all(torch.equal(after[name], x) for name, x in before.items())


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
def test_compiles_once_for_the_prompt_and_once_for_every_token(rotate):
    from torch._dynamo.testing import CompileCounterWithBackend

    def step(cache, q, k, v, kv_bounds=None):
        cache.append(k, v, kv_bounds=kv_bounds)
        return cached_attention(q, cache)

    torch._dynamo.reset()
    graphs = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(step, fullgraph=True, backend=graphs)
    caches = [
        packing_cache(4, rope=make_rope(), rotate=rotate, capacity=256, recent=20, sink=6)
        for _ in range(2)
    ]
    generator = torch.Generator().manual_seed(5)

    def check(count, function, **options):
        new = [torch.randn(2, h, count, 32, generator=generator).bfloat16() for h in (4, 2, 2)]
        out = [f(c, *new, **options) for f, c in zip((step, function), caches, strict=True)]
        assert torch.equal(*out)

    # the second row has no real token yet; then two of them; then more than its sink
    check(60, compiled, kv_bounds=torch.tensor([[0, 60], [62, 62]], dtype=torch.int32))
    for n in range(61, 100):
        check(1, compiled, kv_bounds=torch.tensor([[0, n], [62, n]], dtype=torch.int32))
    assert graphs.frame_count == 2
    assert_same(*caches)
    assert caches[1].state_dict()["first"].tolist() == [0, 62]


BAD = {
    "missing": (None, TypeError, "first: expected a tensor"),
    "shape": (torch.zeros(3, dtype=torch.int32), ValueError, r"first: expected \[2\]"),
    "dtype": (torch.zeros(2), TypeError, "first: expected"),
    "beyond": (torch.tensor([0, 5000]).int(), ValueError, r"first: expected tokens 0 to .*5000"),
    "negative": (torch.tensor([-1, 0]).int(), ValueError, r"first: expected tokens 0 to .*-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_state_without_its_first_tokens_is_refused(case):
    first, error, message = BAD[case]
    k, v = make_states(2, 1, 100, 32, torch.float32)
    state = fill(packing_cache(4, sink=4), k, v).state_dict()
    with pytest.raises(error, match=message):
        packing_cache(4, sink=4).load_state_dict({**state, "first": first})
