"""KVCache: what is stored, bit for bit as the definition says, and how it grows and shrinks."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.devices import DEVICES, to_device
from ops.guarded import poisoned_rows
from ops.kv_checks import assert_same, assert_stores
from ops.kv_inputs import dequantized, fill, make_states, packing_cache

import intp_ext
from intp_ext import reference, reference_kv

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
BITS = reference_kv.BITS


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bits", [*BITS, 16])
@pytest.mark.parametrize("groups", [(64, 64), (128, 48)])
@pytest.mark.parametrize("device", DEVICES)
def test_stores_bitwise_what_the_definition_says(bits, dtype, groups, device):
    k, v = make_states(2, 2, 300, 80, dtype)
    cache = packing_cache(bits, key_group=groups[0], value_group=groups[1])
    assert_stores(fill(cache, *to_device((k, v), device), [30, 100, 1]), k, v)


@pytest.mark.parametrize("device", DEVICES)
@settings(deadline=None, max_examples=40)
@given(
    bits=st.sampled_from([*BITS, 16]),
    dtype=st.sampled_from(DTYPES),
    pieces=st.lists(st.integers(0, 150), max_size=5),
    capacity=st.sampled_from([None, 400]),
    seed=st.integers(0, 9),
)
def test_any_pieces_store_the_same(device, bits, dtype, pieces, capacity, seed):
    k, v = to_device(make_states(1, 2, 333, 32, dtype, seed), device)
    rope = intp_ext.rope_frequencies("ntk", 32, factor=4.0, device=device)
    whole, parts = (packing_cache(bits, rope=rope, capacity=c) for c in (None, capacity))
    fill(whole, k, v)
    fill(parts, k, v, pieces)
    assert_same(whole, parts)
    assert torch.equal(whole.positions.cpu(), torch.arange(333.0)[None])


def test_half_a_step_at_most():
    """Of the exact values, against the scale and the zero that are stored."""
    for dtype in DTYPES:
        k, v = make_states(1, 2, 128, 64, dtype)
        for bits in BITS:
            cache = fill(packing_cache(bits), k, v)
            ranges = cache.state_dict()["tensors"]
            found_k, found_v = dequantized(cache)
            step = ranges["k_ranges"][:, :, :, 0].double().repeat_interleave(64, 2)
            assert ((found_k - k.double()).abs() <= step * (0.5 + 1e-4)).all()
            step = ranges["v_ranges"][:, :, :, 0, 0].double().flatten(2)[..., None]
            assert ((found_v - v.double()).abs() <= step * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("ends", [(-0.5, 0.5), (0.0, 1.0), (-0.3, 0.7), (-1.0, 0.0), (-1.0, 1.0)])
@pytest.mark.parametrize("device", DEVICES)
def test_values_at_the_maximum_of_their_dtype_stay_finite(bits, dtype, ends, device):
    """As the definition has it, and each within half a step, as everywhere."""
    if ends == (-1.0, 1.0) and dtype != torch.float16:
        ends = (-0.49, 0.5)  # float32 must hold the length of a range
    low, high = (torch.finfo(dtype).max * end for end in ends)
    k, v = (x * 0.5 * (high - low) + low for x in torch.rand(2, 1, 1, 64, 32))
    k, v = k.to(dtype), v.to(dtype)
    k[:, :, 7], k[:, :, 40], v[..., 5], v[..., 9] = low, high, low, high
    cache = fill(packing_cache(bits), *to_device((k, v), device))
    assert_stores(cache, k, v)
    tensors = cache.state_dict()["tensors"]
    for name, x, exact in zip("kv", cache.dequantize(), (k, v), strict=True):
        assert x.isfinite().all()
        steps = 2.0 if (dtype, bits) == (torch.bfloat16, 8) else 0.501
        step = tensors[f"{name}_ranges"].cpu().double().flatten()[0]  # of all groups
        digit = torch.finfo(dtype).eps * exact.double().abs()  # what is given is rounded once more
        assert ((x.cpu().double() - exact.double()).abs() <= steps * step + digit).all()


def test_a_constant_channel_is_exact():
    k, v = make_states(1, 1, 64, 32, torch.bfloat16)
    assert torch.equal(fill(packing_cache(2), k, v).dequantize()[0][..., 3], k[..., 3])


@pytest.mark.parametrize("bits", [2, 2.5, 3, 4, 16])
def test_gathers_and_rotates_in_the_same_pass(bits):
    k, v = make_states(2, 2, 150, 32, torch.bfloat16)
    k, v = poisoned_rows(k, 2), poisoned_rows(v, 1)
    order = torch.stack([torch.randperm(150), torch.arange(150)])
    positions = torch.arange(150) * 0.75 + torch.tensor([[0.0], [5.0]])
    rope = intp_ext.rope_frequencies("yarn", 16, factor=2.0, original_max_position=64)
    cache = packing_cache(bits, rope=rope)
    cache.append(k, v, positions, order=order)
    _, turned = intp_ext.apply_rope(None, k, positions, rope, order)
    assert_stores(cache, turned, reference.gather_tokens(v, order))
    unrotated = packing_cache(bits, rope=rope, rotate="on_read")
    unrotated.append(k, v, positions, order=order)
    assert_stores(unrotated, *(reference.gather_tokens(x, order) for x in (k, v)))
    assert torch.equal(unrotated.positions, positions)


@pytest.mark.parametrize("bits", [*BITS, 16])
@pytest.mark.parametrize("device", DEVICES)
def test_padding_is_poison(bits, device):
    """Left, right and whole groups of it; it holds NaN, and keeps out of every range."""
    k, v = make_states(3, 2, 200, 32, torch.bfloat16)
    bounds = torch.tensor([[0, 200], [70, 200], [130, 190]], dtype=torch.int32)
    index = torch.arange(200)
    kept = (bounds[:, :1] <= index) & (index < bounds[:, 1:])
    poisoned_k, poisoned_v = (x.masked_fill(~kept[:, None, :, None], float("nan")) for x in (k, v))
    cache = packing_cache(bits)
    for begin, end in ((0, 100), (100, 200)):
        piece = (poisoned_k[:, :, begin:end], poisoned_v[:, :, begin:end])
        piece, ends = to_device((piece, bounds.clamp(max=end)), device)
        cache.append(*piece, kv_bounds=ends)
    assert_stores(cache, k, v, kept)
    cache.append(*to_device((k[:, :, :1], v[:, :, :1]), device))
    assert cache.kv_bounds.tolist() == [[0, 201], [70, 201], [130, 190]]


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("at", [5, 90, 140])
def test_refuses_what_is_not_finite_and_stays_as_it_was(bad, at):
    k, v = make_states(1, 2, 150, 32, torch.bfloat16)
    cache = fill(packing_cache(4), k[:, :, :40], v[:, :, :40])
    before = cache.dequantize()
    for x in (k, v):
        x = x.clone()
        x[0, 1, at, 7] = bad
        with pytest.raises(ValueError, match="finite"):
            cache.append(x if at % 2 else k, x)
        assert cache.length == 40 and all(map(torch.equal, cache.dequantize(), before))
    plain = fill(packing_cache(16), k, x)
    assert torch.equal(plain.dequantize()[1].isfinite(), x.isfinite())


@pytest.mark.parametrize("bits", [2, 2.5, 16])
def test_reorder(bits):
    k, v = make_states(3, 2, 100, 32, torch.float32)
    rope = intp_ext.rope_frequencies("none", 32)
    cache = packing_cache(bits, rope=rope)
    bounds = torch.tensor([[0, 100], [3, 100], [9, 100]], dtype=torch.int32)
    positions = torch.arange(100) - bounds[:, :1]
    cache.append(k, v, positions, kv_bounds=bounds)
    index = torch.tensor([2, 0, 0, 1])
    cache.reorder(index)
    expected = packing_cache(bits, rope=rope)
    expected.append(k[index], v[index], positions[index], kv_bounds=bounds[index])
    assert_same(cache, expected)
    assert torch.equal(cache.positions, expected.positions)
    assert torch.equal(cache.kv_bounds, expected.kv_bounds)
    with pytest.raises(ValueError, match="beam_idx: expected rows 0 to 3"):
        cache.reorder(torch.tensor([4]))


@pytest.mark.parametrize("length", [0, 40, 128, 150, 190, 200])
def test_crop(length):
    k, v = make_states(1, 2, 200, 32, torch.bfloat16)
    cache = fill(packing_cache(4), k, v)
    before = [x[:, :, :length] for x in cache.dequantize()]
    cache.crop(length)
    assert cache.length == length
    assert all(map(torch.equal, cache.dequantize(), before))
    fill(cache, k[:, :, length:], v[:, :, length:])
    after = cache.dequantize()
    assert all(map(torch.equal, [x[:, :, :length // 64 * 64] for x in after],
                   [x[:, :, :length // 64 * 64] for x in before]))  # fmt: skip
    with pytest.raises(ValueError, match="at most 200"):
        cache.crop(201)


def test_reset():
    k, v = make_states(1, 2, 100, 32, torch.bfloat16)
    for capacity in (None, 128):
        cache = fill(packing_cache(4, capacity=capacity), k, v)
        cache.reset()
        assert cache.length == 0 and cache.nbytes == 0
        assert (cache.nbytes_allocated > 0) == (capacity is not None)
        with pytest.raises(ValueError, match=r"(at most the 0 tokens|empty cache)"):
            intp_ext.cached_attention(k[:, :, :1], cache)
        assert_same(fill(cache, k, v), fill(packing_cache(4), k, v))


def test_saved_and_loaded():
    k, v = make_states(1, 2, 100, 32, torch.bfloat16)
    rope = intp_ext.rope_frequencies("none", 32)
    cache = fill(packing_cache(4, rope=rope), k, v)
    file = io.BytesIO()
    torch.save(cache.state_dict(), file)
    file.seek(0)
    loaded = packing_cache(4, rope=rope)
    loaded.load_state_dict(torch.load(file))
    copied = copy.deepcopy(cache)
    for other in (loaded, copied):
        assert_same(cache, other)
        assert torch.equal(cache.positions, other.positions)
        assert_same(fill(other, k, v), fill(fill(packing_cache(4, rope=rope), k, v), k, v))
    with pytest.raises(ValueError, match="bits: expected 8, got 4"):
        packing_cache(8, rope=rope).load_state_dict(cache.state_dict())
    with pytest.raises(ValueError, match="capacity"):
        packing_cache(4, rope=rope, capacity=64).load_state_dict(cache.state_dict())


@pytest.mark.parametrize(("bits", "most"), [(8, 0.54), (4, 0.30), (3, 0.23), (2, 0.18)])
def test_bytes_with_everything_counted(bits, most):
    """At 16k tokens, as a share of bfloat16; by hand for one token and channel of each."""
    length, dim = 16 << 10, 128
    k = torch.zeros(1, 1, length, dim, dtype=torch.bfloat16)
    cache = fill(packing_cache(bits, rope=intp_ext.rope_frequencies("none", dim)), k, k)
    assert cache.nbytes == 2 * length * dim * (bits / 8 + 2 * 2 / 64) + 4 * length
    assert cache.nbytes <= most * 2 * k.nbytes
    held = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in cache.pages()}
    assert sum(held.values()) <= cache.nbytes_allocated


def test_growth_does_not_copy_at_every_step():
    k, v = make_states(1, 1, 64, 32, torch.bfloat16)
    for bits in (4, 16):
        cache = fill(packing_cache(bits), *(x.repeat(1, 1, 16, 1) for x in (k, v)))
        places = set()
        for _ in range(64):
            cache.append(k[:, :, :16], v[:, :, :16])
            places.add((cache.pages()[0] if bits == 4 else cache.rows()[0]).data_ptr())
        assert len(places) <= 5
        assert cache.nbytes_allocated <= 1.4 * cache.nbytes


BAD_OPTIONS = {
    "bits": ({"bits": 5}, r"bits: expected one of \(2, 2.5, 3, 4, 8, 16\), got 5"),
    "rotate": ({"rotate": "later"}, "rotate: expected one of"),
    "key_group": ({"key_group": 32}, "key_group: expected a multiple of 64, got 32"),
    "recent": ({"recent": -1}, "recent: expected at least 0, got -1"),
    "sink": ({"sink": -1}, "sink: expected at least 0, got -1"),
    "too many sinks": ({"sink": 2**24 + 1}, "sink: expected at most 16777216, got 16777217"),
    "value_group": ({"value_group": 8}, "value_group: expected a multiple of 16, got 8"),
    "capacity": ({"capacity": 0}, "capacity: expected at least 1"),
    "no rope": ({"rotate": "on_read"}, "rope: expected a Rope"),
}


def test_half_a_bit_is_of_the_keys():
    half = intp_ext.KVCache(2.5)
    assert (half.key_bits, half.value_bits, half.key_group) == (3, 2, 128)
    assert (intp_ext.KVCache(3.0).bits, intp_ext.KVCache(3).key_group) == (3, 64)
    k, v = make_states(1, 2, 128, 64, torch.bfloat16)
    codes = fill(packing_cache(2.5), k, v).pages()[:2]
    assert [x.numel() * 8 / k.numel() for x in codes] == [3, 2]


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case):
    options, message = BAD_OPTIONS[case]
    with pytest.raises(ValueError, match=message):
        packing_cache(**{"bits": 4, **options})


def states(heads=2, dim=32, dtype=torch.bfloat16, batch=1, length=3):
    return torch.zeros(batch, heads, length, dim, dtype=dtype)


@pytest.mark.parametrize("capacity", [10**14, 10**15, 2**63 - 1, 2**64, 10**30])
@pytest.mark.parametrize("bits", [4, 16])
def test_a_capacity_that_no_machine_has(bits, capacity):
    """Torch's own errors differ with the size, and name nothing."""
    cache = packing_cache(bits, capacity=capacity)
    with pytest.raises(ValueError, match=r"append: capacity: expected .* [\d,]+ bytes") as caught:
        cache.append(states(), states())
    if bits == 16:
        k = states(length=1)
        need = 2 * k.shape[0] * k.shape[1] * k.shape[3] * k.itemsize * capacity
        assert f"{need:,} bytes" in str(caught.value)
    assert cache.shape is None


BAD_STATES = {
    "heads": ((states(heads=3), states(heads=3)), {}, ValueError, "heads and head_dim"),
    "v": ((states(), states(length=4)), {}, ValueError, "v: expected k's"),
    "dtype": ((states(dtype=torch.float16),) * 2, {}, TypeError, "k: expected the cache's"),
    "v dtype": ((states(), states().float()), {}, TypeError, "v: expected k's"),
    "device": ((states().to("meta"),) * 2, {}, ValueError, "device"),
    "batch": ((states(batch=2),) * 2, {}, ValueError, "batch, heads"),
    "dims": ((states()[0], states()), {}, ValueError, r"\[B, Hkv, S, D\]"),
    "positions": ((states(), states()), {"positions": torch.arange(4)}, ValueError, "positions"),
    "dtype of positions": (
        (states(), states()), {"positions": torch.arange(3).double()}, TypeError, "positions",
    ),
    "order": (
        (states(), states()), {"order": torch.tensor([0, 3])}, ValueError, "0 <= row < 3",
    ),
    "bounds": (
        (states(), states()), {"kv_bounds": torch.zeros(1, 3, dtype=torch.int32)}, ValueError,
        "kv_bounds: expected",
    ),
    "capacity": ((states(length=99),) * 2, {}, ValueError, r"at most 100 tokens \(capacity\)"),
    "grad": ((states().requires_grad_(), states()), {}, ValueError, "without grad"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STATES)
def test_bad_states_leave_the_cache_as_it_was(case):
    (k, v), options, error, message = BAD_STATES[case]
    cache = packing_cache(4, rope=intp_ext.rope_frequencies("none", 32), capacity=100)
    fill(cache, *make_states(1, 2, 70, 32, torch.bfloat16))
    before = cache.state_dict()
    with pytest.raises(error, match=message):
        cache.append(k, v, **options)
    after = cache.state_dict()
    assert after["length"] == before["length"]
    for name, tensor in before["tensors"].items():
        assert torch.equal(after["tensors"][name], tensor)


def test_positions_need_a_rope_and_head_dim_its_lanes():
    with pytest.raises(ValueError, match="positions: expected None"):
        packing_cache(4).append(states(), states(), torch.arange(3))
    with pytest.raises(ValueError, match="multiple of 16"):
        packing_cache(4).append(states(dim=24), states(dim=24))
    packing_cache(16).append(states(dim=24), states(dim=24))


def test_a_rotation_that_was_written_cannot_be_changed():
    rope = intp_ext.rope_frequencies("none", 32)
    cache = packing_cache(4, rope=rope)
    cache.set_rope(intp_ext.rope_frequencies("ntk", 32, factor=2.0))
    cache.append(states(), states())
    with pytest.raises(ValueError, match="on_read"):
        cache.set_rope(rope)
    with pytest.raises(ValueError, match="on_read"):
        cache.set_positions(torch.arange(3))


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("sink", [0, 4])
def test_operator_passes_opcheck(bits, sink):
    k, v = make_states(1, 2, 130, 32, torch.bfloat16)
    cache = fill(packing_cache(bits, capacity=256, sink=sink), k[:, :, :60], v[:, :, :60])
    old = [x.clone() for x in cache.held()[0][4:6]] if bits == 4 else [None, None]
    buffers, (_, _, first) = cache.held()
    rope = intp_ext.rope_frequencies("none", 32)
    positions = torch.arange(60, 190)
    torch.library.opcheck(
        torch.ops.intp_ext.kv_append,
        (k, v, positions, rope.inv_freq, 1.0, None, False, None, None, first,
         60, 0, 128 if bits == 4 else 0, bits, bits, 64, 64, *old, *buffers),
    )  # fmt: skip
