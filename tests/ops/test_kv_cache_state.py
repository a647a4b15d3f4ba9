"""A cache changes by whole calls alone: not by one that fails, nor through tensors it shares."""

from __future__ import annotations

import pytest
import torch
from ops.faults import each_fault
from ops.kv_inputs import fill, make_states, packing_cache

import intp_ext
from intp_ext import KVCache, cached_attention

SECTIONS = (4, 6, 6)


def make_rope(sections=None):
    return intp_ext.rope_frequencies("ntk", 32, factor=2.0, sections=sections)


def snapshot(cache: KVCache) -> dict:
    return {**cache.state_dict(), "inv_freq": None if cache.rope is None else cache.rope.inv_freq}


def assert_is(cache: KVCache, before: dict) -> None:
    """Bit for bit, and in every option."""
    now = snapshot(cache)
    assert now.keys() == before.keys()
    for name, value in {**before, **before["tensors"]}.items():
        found = {**now, **now["tensors"]}[name]
        if isinstance(value, torch.Tensor):
            assert torch.equal(found, value), name
        elif name != "tensors":
            assert found == value, name


def new_states(count, seed=7):
    return make_states(2, 2, count, 32, torch.float32, seed)


BOUNDS = torch.tensor([[0, 100], [9, 100]], dtype=torch.int32)
FEW, MANY = new_states(3), new_states(200)

# name -> (bits, options of the cache, sections, the call)
CHANGES = {
    "a token": (4, {"capacity": 400}, None, lambda c: c.append(*FEW)),
    "a group": (4, {"capacity": 400}, None, lambda c: c.append(*MANY)),
    "growth": (4, {}, None, lambda c: c.append(*MANY)),
    "16 bits": (16, {"capacity": 400}, None, lambda c: c.append(*MANY)),
    "growth of 16 bits": (16, {}, None, lambda c: c.append(*MANY)),
    "on read": (2, {"rotate": "on_read"}, None, lambda c: c.append(*MANY)),
    "three axes": (4, {}, SECTIONS, lambda c: c.append(*MANY, torch.rand(3, 1, 200))),
    "positions of three axes": (
        4,
        {"rotate": "on_read"},
        SECTIONS,
        lambda c: c.set_positions(torch.rand(3, 1, 100)),
    ),
    "order": (4, {}, None, lambda c: c.append(*MANY, order=torch.randperm(200))),
    "crop": (4, {}, None, lambda c: c.crop(70)),
    "reorder": (4, {}, None, lambda c: c.reorder(torch.tensor([1, 0]))),
    "positions": (4, {"rotate": "on_read"}, None, lambda c: c.set_positions(torch.rand(100))),
    "load": (4, {}, None, lambda c: c.load_state_dict(other_state())),
}


def make_cache(bits, options, sections=None):
    cache = packing_cache(bits, rope=make_rope(sections), **options)
    cache.append(*make_states(2, 2, 100, 32, torch.float32), kv_bounds=BOUNDS)
    return cache


def other_state():
    return make_cache(4, {}).state_dict()


@pytest.mark.parametrize("change", CHANGES)
def test_a_failure_at_any_operator_leaves_the_cache_as_it_was(change):
    bits, options, sections, call = CHANGES[change]
    cache = make_cache(bits, options, sections)
    before, failures = snapshot(cache), 0
    for _ in each_fault(lambda: call(cache)):
        assert_is(cache, before)
        failures += 1
    assert failures >= 2
    untouched = make_cache(bits, options, sections)
    torch.manual_seed(0)  # positions and orders above are random
    call(untouched)
    cache.load_state_dict(before)
    torch.manual_seed(0)
    call(cache)
    assert_is(cache, snapshot(untouched))


def test_a_failure_while_rewinding_leaves_the_cache_as_it_was():
    cache = make_cache(4, {})
    mark, at_mark = cache.mark(), snapshot(cache)
    cache.append(*MANY)
    before = snapshot(cache)
    for _ in each_fault(lambda: cache.rewind(mark)):
        assert_is(cache, before)
    assert_is(cache, at_mark)


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("axes", [(3, None), (3, 1), (None, 3), (1, 3), (3, 3)])
def test_positions_of_one_axis_and_of_three_in_one_cache(axes, bits, rotate):
    """One axis stands for three that agree, in whatever order they come."""

    def positions(axes, begin, count):
        if axes == 3:
            return torch.rand(3, 2, count, generator=torch.Generator().manual_seed(begin)) * 50
        return None if axes is None else torch.arange(begin, begin + count)

    def spelled_out(given, begin, count):
        if given is None:
            given = torch.arange(begin, begin + count)
        return given if given.dim() == 3 else given.expand(3, 2, count)

    caches = [packing_cache(bits, rope=make_rope(SECTIONS), rotate=rotate) for _ in range(2)]
    begin, q = 0, make_states(2, 4, 2, 32, torch.float32)[0]
    for kind, count in zip((*axes, *axes), (70, 90, 1, 40), strict=True):
        k, v = make_states(2, 2, count, 32, torch.float32, begin)
        given = positions(kind, begin, count)
        caches[0].append(k, v, given)
        caches[1].append(k, v, spelled_out(given, begin, count))
        begin += count
    assert torch.equal(caches[0].positions.expand(3, 2, begin), caches[1].positions)
    assert torch.equal(*(cached_attention(q, cache) for cache in caches))


@pytest.mark.parametrize("bits", [2, 2.5, 16])
@pytest.mark.parametrize("capacity", [None, 700])
def test_unrotated_keys_of_three_axes_keep_their_positions(bits, capacity):
    """Through a crop, a rewind, other rows of a batch, and a state that is saved and loaded."""
    options = {"rope": make_rope(SECTIONS), "rotate": "on_read", "capacity": capacity}
    k, v = make_states(2, 2, 500, 32, torch.float32)
    positions = torch.rand(3, 2, 500, generator=torch.Generator().manual_seed(1)) * 50
    q = make_states(2, 4, 3, 32, torch.float32)[0]

    def put(cache, begin, end):
        cache.append(k[:, :, begin:end], v[:, :, begin:end], positions[..., begin:end])

    cache = packing_cache(bits, **options)
    put(cache, 0, 150)
    mark = cache.mark()
    put(cache, 200, 400)
    cache.rewind(mark)
    put(cache, 150, 300)
    cache.crop(192)  # whole groups
    put(cache, 192, 500)
    whole = packing_cache(bits, **options)
    put(whole, 0, 500)
    assert torch.equal(cache.positions, positions)
    assert torch.equal(*(cached_attention(q, each) for each in (cache, whole)))
    loaded = packing_cache(bits, **options)
    loaded.load_state_dict(cache.state_dict())
    for each in (cache, loaded):
        each.reorder(torch.tensor([1, 0]))
        assert torch.equal(each.positions, positions.flip(1))
        out = cached_attention(q.flip(0), each)
        assert torch.equal(out.flip(0), cached_attention(q, whole))


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("capacity", [None, 400])
def test_what_was_cached_in_inference_mode_can_be_used_outside(bits, capacity):
    caches = []
    for mode in (True, False):
        cache = packing_cache(bits, rope=make_rope(), capacity=capacity)
        with torch.inference_mode(mode):
            cache.append(*make_states(2, 2, 100, 32, torch.float32), kv_bounds=BOUNDS)
            mark = cache.mark()
        cache.append(*MANY)
        cache.rewind(mark)
        cache.append(*MANY)
        cache.crop(150)
        cache.reorder(torch.tensor([1, 1]))
        with torch.inference_mode(mode):
            cache.append(*FEW)
        cache.append(*FEW)
        caches.append(cache)
    assert_is(caches[0], snapshot(caches[1]))
    moved = packing_cache(bits, rope=make_rope(), rotate="on_read")
    with torch.inference_mode():
        moved.append(*MANY)
    moved.set_positions(torch.arange(200) * 0.5)


def test_tensors_that_are_given_are_copied():
    rope, bounds, positions = make_rope(), BOUNDS.clone(), torch.arange(100.0)
    k, v = make_states(2, 2, 100, 32, torch.float32)
    cache = packing_cache(4, rope=rope)
    cache.append(k, v, positions, kv_bounds=bounds)
    before, mark = snapshot(cache), cache.mark()
    for x in (rope.inv_freq, bounds, positions, k, v):
        x.zero_()
    assert_is(cache, {**before, "inv_freq": make_rope().inv_freq})
    cache.append(*FEW)
    mark[3].zero_()
    cache.rewind(mark)
    mark[3].fill_(1)
    assert cache.kv_bounds.tolist() == [[0, 0], [0, 0]]  # as the mark had it then


def test_tensors_that_come_out_are_copies():
    cache = make_cache(4, {})
    before, expected = cache.state_dict(), cache.state_dict()
    out = [cache.kv_bounds, cache.positions, *cache.dequantize(), *cache.mark()[1:]]
    out += [*before["tensors"].values(), before["positions"], before["bounds"]]
    for x in out:
        x.zero_()
    assert_is(cache, {**expected, "inv_freq": make_rope().inv_freq})


def test_a_loaded_state_is_copied():
    cache, state = packing_cache(4, rope=make_rope()), other_state()
    cache.load_state_dict(state)
    before = snapshot(cache)
    for x in (*state["tensors"].values(), state["positions"], state["bounds"]):
        x.zero_()
    assert_is(cache, before)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"length": 99}, ValueError, r"tensors\['k_rows'\]: expected \[2, 2, 35, 32\]"),
        ({"length": 100.0}, TypeError, "length: expected an int"),
        ({"positions": torch.zeros(2, 99)}, ValueError, "positions: expected"),
        ({"bounds": torch.zeros(2, 2)}, TypeError, "kv_bounds: expected int32"),
        ({"tensors": {"k_rows": torch.zeros(2, 2, 36, 32)}}, TypeError, "'k_codes'.*a tensor"),
        ({"tensors": {"k_rows": torch.zeros(2, 2, 36)}}, ValueError, r"'k_rows'\]: expected \[B"),
        ({"bits": None}, ValueError, "bits: expected 4"),
    ],
)
def test_a_state_that_does_not_fit_leaves_the_cache_as_it_was(change, error, named):
    cache = make_cache(4, {})
    before, state = snapshot(cache), other_state()
    with pytest.raises(error, match=f"KVCache.load_state_dict: .*{named}"):
        cache.load_state_dict({**state, **change})
    del state["length"]
    with pytest.raises(ValueError, match="length: expected an entry, got none"):
        cache.load_state_dict(state)
    assert_is(cache, before)


def test_a_backward_that_needs_overwritten_rows_raises():
    """Views of a cache are tensors like any other."""
    cache = packing_cache(16, capacity=200)
    fill(cache, *new_states(100))
    q = torch.randn(2, 2, 100, 32, requires_grad=True)
    loss = intp_ext.attention(q, *cache.rows()).sum()
    cache.append(*FEW)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("capacity", [None, 40])
def test_a_cache_that_is_reset_takes_positions_of_other_axes(capacity):
    inv_freq = 1 / 10000 ** (torch.arange(0, 32, 2).float() / 32)
    rope = intp_ext.Rope(inv_freq, 1.0, (4, 6, 6))
    k = torch.randn(1, 2, 5, 32)
    cache = packing_cache(rope=rope, capacity=capacity)
    cache.append(k, k, torch.arange(5.0).expand(3, 1, 5).contiguous())
    cache.reset()
    cache.append(k, k, torch.arange(5.0))
    assert torch.equal(cache.positions, torch.arange(5.0)[None])
