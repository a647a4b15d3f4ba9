"""The newest tokens of a cache stay exact, and what is packed when is a matter of length alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.faults import each_fault
from ops.kv_checks import assert_same, assert_stores, check_attention, make_queries
from ops.kv_inputs import fill, make_states, packing_cache

import intp_ext
from intp_ext import KVCache, Window, cached_attention, reference_kv


@pytest.mark.parametrize(
    ("length", "recent", "group", "packed"),
    [
        (300, 0, 128, 256),
        (300, 44, 128, 256),
        (300, 45, 128, 128),
        (40, 128, 64, 0),
        (64, 0, 64, 64),
    ],
)
def test_what_is_packed(length, recent, group, packed):
    assert reference_kv.packed_tokens(length, group, recent) == packed
    assert reference_kv.packed_tokens(length, group, recent, before=256) == 256
    k, v = make_states(1, 1, length, 16, torch.bfloat16)
    assert fill(packing_cache(4, recent=recent, key_group=group), k, v).packed == packed
    assert fill(packing_cache(16, recent=recent, key_group=group), k, v).packed == 0


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=40)
@given(
    bits=st.sampled_from(reference_kv.BITS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    recent=st.sampled_from([0, 1, 63, 64, 100, 128, 400]),
    key_group=st.sampled_from([64, 128]),
    pieces=st.lists(st.integers(0, 150), max_size=6),
    capacity=st.sampled_from([None, 400]),
    rotate=st.sampled_from(["on_write", "on_read"]),
    seed=st.integers(0, 9),
)
def test_any_pieces_store_the_same(
    device, bits, dtype, recent, key_group, pieces, capacity, rotate, seed
):
    """Padding on both sides, too; bit for bit as the definition says."""
    k, v = make_states(2, 2, 333, 32, dtype, seed)
    bounds = torch.tensor([[0, 333], [70, 190]], dtype=torch.int32)
    index = torch.arange(333)
    kept = (bounds[:, :1] <= index) & (index < bounds[:, 1:])
    rope = intp_ext.rope_frequencies("ntk", 32, factor=4.0, device=device)
    options = {"rope": rope, "recent": recent, "key_group": key_group, "rotate": rotate}
    whole, parts = (packing_cache(bits, capacity=c, **options) for c in (None, capacity))
    k, v, bounds = to_device((k, v, bounds), device)
    whole.append(k, v, kv_bounds=bounds)
    begin = 0
    for count in (*pieces, 333):
        end = min(begin + count, 333)
        piece = (x[:, :, begin:end] for x in (k, v))
        parts.append(*piece, kv_bounds=bounds.clamp(max=end))
        begin = end
    assert_same(whole, parts)
    turned = k
    if rotate == "on_write":
        _, turned = intp_ext.apply_rope(None, k, torch.arange(333, device=device), rope)
    assert whole.packed == max(0, (333 - recent) // key_group * key_group)
    assert_stores(parts, turned.cpu(), v.cpu(), kept)


@pytest.mark.parametrize("length", [0, 40, 64, 100, 192, 260, 400])
def test_a_crop_unpacks_no_more_than_the_group_that_it_cuts(length):
    k, v = make_states(1, 2, 400, 32, torch.bfloat16)
    cache = fill(packing_cache(2, recent=128), k, v)
    assert cache.packed == 256
    before = [x[:, :, :length] for x in cache.dequantize()]
    cache.crop(length)
    assert cache.packed == min(256, length // 64 * 64)
    assert all(map(torch.equal, cache.dequantize(), before))
    fill(cache, k[:, :, length:], v[:, :, length:], [30, 1])
    assert cache.packed == 256
    rows = cache.rows()
    assert torch.equal(rows[0], k[:, :, 256:]) and torch.equal(rows[1], v[:, :, 256:])


@pytest.mark.parametrize(
    ("bits", "exact"), [(2, (128, 4)), (3, (128, 4)), (4, (128, 4)), (8, (0, 0)), (16, (0, 0))]
)
def test_what_stays_exact_if_nothing_is_said(bits, exact):
    cache = KVCache(bits)
    assert (cache.recent, cache.sink) == exact
    assert (KVCache(bits, recent=7).recent, KVCache(bits, sink=9).sink) == (7, 9)


@pytest.mark.parametrize("tokens", [None, 5, 200])
def test_rewinds_to_the_bit(tokens):
    k, v = make_states(1, 2, 400, 32, torch.float32)
    for length in (100, 191, 192, 250):
        cache = fill(packing_cache(4, recent=100), k[:, :, :length], v[:, :, :length])
        expected, mark = cache.state_dict(), cache.mark(tokens)
        count = tokens or 300
        fill(cache, *make_states(1, 2, count, 32, torch.float32, 3), [count // 2])
        cache.crop(length + count // 4)
        cache.rewind(mark)
        fresh = packing_cache(4, recent=100)
        fresh.load_state_dict(expected)
        assert_same(cache, fresh)
        assert_same(*(fill(each, k[:, :, length:], v[:, :, length:]) for each in (cache, fresh)))


@pytest.mark.parametrize("capacity", [None, 150])
def test_memory_for_rows_follows_their_number(capacity):
    """However many of them ``recent`` would keep."""
    k, v = make_states(1, 1, 1, 16, torch.bfloat16)
    cache = fill(KVCache(4, recent=10**12, capacity=capacity), k, v)
    assert cache.rows()[0].untyped_storage().nbytes() <= (capacity or 300) * 2 * 16
    for _ in range(149):
        cache.append(k, v)
    assert (cache.length, cache.packed) == (150, 0)
    assert torch.equal(cache.dequantize()[0], k.expand(-1, -1, 150, -1))


def test_rows_that_grow_while_they_move():
    """From fewer than ``recent`` of them to more than there was memory for."""
    k, v = make_states(2, 2, 3000, 16, torch.float32)
    options = {"recent": 1000, "sink": 4}
    whole, parts = (packing_cache(3, **options) for _ in range(2))
    fill(whole, k, v)
    fill(parts, k, v, (10, 890))
    assert_same(whole, parts)


def test_mark_copies_only_where_a_group_is_packed():
    k, v = make_states(1, 1, 191, 32, torch.float32)
    cache = fill(packing_cache(4, recent=128), k, v)
    assert cache.mark(0)[1] is None
    assert torch.equal(cache.mark(1)[1], k)
    assert packing_cache(4, recent=128).mark(1)[1] is None


def test_a_mark_for_fewer_tokens_than_came_is_refused():
    k, v = make_states(1, 1, 191, 32, torch.float32)
    cache = fill(packing_cache(4, recent=128), k, v)
    mark = cache.mark(0)
    fill(cache, *make_states(1, 1, 1, 32, torch.float32))  # which packs a group
    before = cache.state_dict()["tensors"]
    with pytest.raises(
        ValueError, match=r"no more tokens than mark\(\) was told, got 192 after 191"
    ):
        cache.rewind(mark)
    assert all(torch.equal(x, before[name]) for name, x in cache.state_dict()["tensors"].items())


@pytest.mark.parametrize("packed", [3, 0, 256])
def test_a_state_with_other_pages_is_refused(packed):
    k, v = make_states(1, 1, 200, 32, torch.float32)
    cache = fill(packing_cache(4, recent=20), k, v)
    with pytest.raises(ValueError, match=r"packed: expected whole groups of 64 .* least 128"):
        cache.load_state_dict({**cache.state_dict(), "packed": packed})


@pytest.mark.parametrize("capacity", [None, 150])
def test_a_cropped_cache_is_saved_and_loaded(capacity):
    """It holds more pages than one that was never longer."""
    k, v = make_states(1, 1, 300, 32, torch.float32)
    cache = fill(packing_cache(4, recent=128), k, v)
    cache.crop(140)
    loaded = packing_cache(4, recent=128, capacity=capacity)
    loaded.load_state_dict(cache.state_dict())
    assert loaded.packed == 128
    assert_same(cache, loaded)
    assert_same(*(fill(each, k[:, :, :5], v[:, :, :5]) for each in (cache, loaded)))


@pytest.mark.parametrize("capacity", [None, 400])
def test_a_failure_at_any_operator_leaves_the_cache_as_it_was(capacity):
    k, v = make_states(2, 2, 250, 32, torch.float32)
    cache = fill(packing_cache(4, recent=100, capacity=capacity), k[:, :, :120], v[:, :, :120])
    before, failures = cache.state_dict(), 0
    held = packing_cache(4, recent=100)
    held.load_state_dict(before)
    for _ in each_fault(lambda: cache.append(k[:, :, 120:], v[:, :, 120:])):
        assert_same(cache, held)
        failures += 1
    assert failures >= 2
    assert_same(cache, fill(packing_cache(4, recent=100), k, v))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_refuses_what_is_not_finite_and_stays_as_it_was(bad):
    """Among tokens that are packed at once, and those that stay rows."""
    k, v = make_states(1, 2, 300, 32, torch.bfloat16)
    for at in (130, 299):
        cache = fill(packing_cache(4, recent=100), k[:, :, :120], v[:, :, :120])
        before = cache.dequantize()
        worse = k.clone()
        worse[0, 1, at, 7] = bad
        with pytest.raises(ValueError, match="finite"):
            cache.append(worse[:, :, 120:], v[:, :, 120:])
        assert cache.length == 120 and all(map(torch.equal, cache.dequantize(), before))


@pytest.mark.parametrize("rotate", [None, "on_write", "on_read"])
@pytest.mark.parametrize("bits", [2, 2.5, 8])
@pytest.mark.parametrize("window", [None, Window(100), Window(3, sink=70)])
@pytest.mark.parametrize("device", DEVICES)
def test_attention_is_as_good_as_eager(bits, rotate, window, device):
    for dtype in (torch.float32, torch.bfloat16):
        for recent, length in ((128, 700), (1300, 2000), (500, 400)):
            rope = intp_ext.rope_frequencies("none", 32, device=device) if rotate else None
            k, v = make_states(2, 2, length, 32, dtype)
            k[..., 1:3] /= 10
            cache = packing_cache(bits, rope=rope, rotate=rotate or "on_write", recent=recent)
            bounds = torch.tensor([[0, length], [75, length]], dtype=torch.int32)
            k, v, bounds = to_device((k, v, bounds), device)
            cache.append(k, v, kv_bounds=bounds)
            check_attention(cache, make_queries(cache, 3, 40), window, last=(1,))


def test_rows_beyond_the_last_token_are_not_read():
    k, v = make_states(1, 2, 300, 32, torch.bfloat16)
    cache = fill(packing_cache(4, recent=100), k, v)
    q = make_queries(cache, 2, 40)
    clean = [cached_attention(q[:, :, -rows:], cache) for rows in (40, 1)]
    for name in ("k_rows", "v_rows"):
        cache._buffers[name][:, :, cache.length - cache.packed :] = float("nan")
    found = [cached_attention(q[:, :, -rows:], cache) for rows in (40, 1)]
    assert all(map(torch.equal, clean, found))
