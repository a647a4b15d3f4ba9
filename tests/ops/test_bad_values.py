"""A bad value is refused where it is given, by a message that names it."""

from __future__ import annotations

import pytest
import torch

from intp_ext import (
    KVCache,
    Rope,
    Window,
    apply_rope,
    attention,
    attention_plan,
    cached_attention,
    rearrange,
    rope_frequencies,
    token_order,
)

FREQUENCIES = torch.ones(4)
Q, SHAPE = torch.zeros(1, 2, 3, 8), (1, 2, 3, 8)
ROPE, POSITIONS = rope_frequencies("none", 8), torch.arange(3)


def frequencies(kind="linear", head_dim=64, **options):
    return rope_frequencies(kind, head_dim, **options)


def yarn(**options):
    return frequencies("yarn", original_max_position=4096, factor=4.0, **options)


def plan(*shapes, **options):
    return attention_plan(*(shapes or (SHAPE, SHAPE)), **options)


def cache_of(length):
    cache = KVCache(16)
    cache.append(*torch.zeros(2, 1, 2, length, 8))
    return cache


# the call, the error, and the end of "operator: argument: expected ..., got ..."
BAD = {
    "text bits": (lambda: KVCache("4"), TypeError, "KVCache: bits: expected a number, got str"),
    "bool bits": (lambda: KVCache(True), TypeError, "KVCache: bits: expected a number, got bool"),
    "other bits": (lambda: KVCache(3.5), ValueError, r"KVCache: bits: expected one .*got 3\.5"),
    "float key_group": (lambda: KVCache(4, key_group=64.0), TypeError, "key_group: expected an"),
    "float capacity": (lambda: KVCache(capacity=9.5), TypeError, "capacity: expected an int"),
    "float sections": (
        lambda: Rope(FREQUENCIES, sections=(2.0, 1.0, 1.0)), TypeError,
        "Rope: sections: expected an int, got float",
    ),
    "number of sections": (
        lambda: Rope(FREQUENCIES, sections=4), TypeError, "Rope: sections: expected three ints",
    ),
    "text scaling": (
        lambda: Rope(FREQUENCIES, "1.0"), TypeError, "attention_scaling: expected a number",
    ),
    "interleaved": (
        lambda: Rope(FREQUENCIES, 1.0, (2, 1, 1), 1), TypeError,
        "interleaved_sections: expected True or False, got int",
    ),
    "float head_dim": (
        lambda: frequencies(head_dim=64.0), TypeError, "head_dim: expected an int, got float",
    ),
    "float rotary_dim": (
        lambda: frequencies(rotary_dim=32.0), TypeError, "rotary_dim: expected an int, got float",
    ),
    "text base": (lambda: frequencies(base="1e4"), TypeError, "base: expected a number, got str"),
    "text factor": (lambda: frequencies(factor="2"), TypeError, "factor: expected a number"),
    "huge factor": (lambda: frequencies("ntk", factor=1e300), ValueError, "factor: expected one"),
    "factor beyond float32": (
        lambda: frequencies("ntk", factor=1e38), ValueError, "factor: expected one whose base",
    ),
    "float length": (
        lambda: frequencies("dynamic_ntk", original_max_position=9, length=10.0), TypeError,
        "length: expected an int",
    ),
    "no trained positions": (
        lambda: frequencies(original_max_position=0), ValueError,
        "original_max_position: expected at least 1, got 0",
    ),
    "beta_slow": (
        lambda: yarn(beta_slow=0), ValueError, "beta_slow: expected a number above 0, got 0",
    ),
    "beta_fast": (lambda: yarn(beta_fast=-1.0), ValueError, "beta_fast: expected a number above 0"),
    "betas": (lambda: yarn(beta_slow=40), ValueError, "beta_slow: expected at most beta_fast"),
    "truncate": (lambda: yarn(truncate=0), TypeError, "truncate: expected True or False"),
    "attention_factor": (
        lambda: yarn(attention_factor="1"), TypeError, "attention_factor: expected a number",
    ),
    "huge groups": (
        lambda: token_order(2**70, 0, 1), ValueError, "groups: expected less than 2.31, got 1180",
    ),
    "huge frames": (
        lambda: token_order(0, 1, 2**31), ValueError, "tokens_per_frame: expected less than 2.31",
    ),
    "plan without keys": (
        lambda: plan(SHAPE, (1, 2, 0, 8)), ValueError, "k_shape: .* nothing to plan",
    ),
    "plan of floats": (lambda: plan((1, 2, 3.0, 8), SHAPE), TypeError, "q_shape: expected an int"),
    "plan of a number": (lambda: plan(3, SHAPE), ValueError, r"q_shape: expected \[B, H, S, D\]"),
    "threads": (lambda: plan(threads=-3), ValueError, "threads: expected at least 1, got -3"),
    "no threads": (lambda: plan(threads=0), ValueError, "threads: expected at least 1, got 0"),
    "multiprocessors": (
        lambda: plan(device="cuda", multiprocessors=0), ValueError, "multiprocessors: expected",
    ),
    "window of a plan": (lambda: plan(window=3), TypeError, "window: expected a Window, got int"),
    "window of another batch": (
        lambda: plan(window=Window(1, block_start=torch.zeros(2, dtype=torch.int32))), ValueError,
        "window.block_start: expected shape",
    ),
    "offset of a plan": (lambda: plan(q_offset=1), ValueError, "q_offset: expected 0 to 0"),
    "bounds of a plan": (lambda: plan(kv_bounds=torch.zeros(1, 2)), TypeError, "kv_bounds: exp"),
    "huge block_start": (
        lambda: attention(Q, Q, Q, window=Window(1, block_start=2**40)), ValueError,
        "window.block_start: expected an int32, got 1099511627776",
    ),
    "huge window": (lambda: Window(2**70), ValueError, "Window: size: expected less than 2.63"),
    "text scale": (lambda: attention(Q, Q, Q, scale="1"), TypeError, "scale: expected a number"),
    "huge scale": (lambda: attention(Q, Q, Q, scale=1e39), ValueError, "scale: expected less"),
    "huge scale over a cache": (
        lambda: cached_attention(Q, cache_of(3), scale=-1e39), ValueError, "scale: expected less",
    ),
    "list of positions": (
        lambda: attention(Q, Q, Q, rope=ROPE, positions=[0, 1, 2]), TypeError,
        "positions: expected a tensor, got list",
    ),
    "one position": (
        lambda: attention(Q, Q, Q, rope=ROPE, positions=torch.tensor(3)), ValueError,
        "positions: expected one for each key, got a scalar",
    ),
    "more rows than positions": (
        lambda: attention(Q, Q[:, :, :2], Q[:, :, :2], rope=ROPE, positions=POSITIONS[:2]),
        ValueError, "attention: q: expected at most one row for each of the 2 positions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_value_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def odd(*shape):
    """Empty, the last dimension with another stride than 1."""
    return torch.zeros(*shape[:-2], shape[-1], shape[-2]).transpose(-1, -2)


def test_empty_tensors_may_have_any_strides():
    """``.contiguous()``, the way out of a stride that does not fit, leaves them as they are."""
    q = odd(0, 2, 3, 8)
    assert q.stride(-1) != 1 and q.contiguous().stride(-1) != 1
    assert attention(q, q, q).shape == q.shape
    assert attention(q, q, q, out=odd(0, 2, 3, 8)).shape == q.shape
    assert apply_rope(q, q, POSITIONS, ROPE)[1].shape == q.shape
    assert apply_rope(q, q, POSITIONS, ROPE, out=(odd(*q.shape), odd(*q.shape)))[0].shape == q.shape
    assert rearrange(odd(0, 3, 8), POSITIONS).shape == (0, 3, 8)
    assert rearrange(odd(0, 3, 8), POSITIONS, out=odd(0, 3, 8)).shape == (0, 3, 8)
    for bits in (4, 16):
        cache, k = KVCache(bits), odd(0, 2, 70, 16)
        cache.append(k, k)
        assert cached_attention(odd(0, 2, 3, 16), cache).shape == (0, 2, 3, 16)
