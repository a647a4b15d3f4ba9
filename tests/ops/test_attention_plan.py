"""attention_plan(): the schedule, and through it a guard against an accidental slow path."""

from __future__ import annotations

import pytest
import torch
from ops.eager_attention import first_keys, seen_keys

from intp_ext import Window, attention_plan, build_info

FRAME = 257


def visited(plan):
    return plan.full + plan.edge


@pytest.mark.parametrize(
    "window",
    [
        Window(2, block=70, block_start=5, sink=40, dense_from=690),
        Window(first_key=first_keys(2, 700, 0), sink=40, dense_from=690),
        Window(first_key=first_keys(1, 700, 0, span=700)),
    ],
    ids=["blocks", "first keys", "first keys for all"],
)
def test_tiles_are_those_of_the_definition(window):
    """Every tile by the mask of the definition."""
    bounds = torch.tensor([[3, 700], [0, 600]], dtype=torch.int32)
    plan = attention_plan((2, 4, 700, 64), (2, 2, 700, 64), window=window, kv_bounds=bounds)
    seen = seen_keys(2, 700, 700, window=window, kv_bounds=bounds)
    seen = seen.repeat_interleave(2, 1)  # rows: the two heads of a group, query by query
    keys_per_tile, rows_per_tile = plan.keys_per_tile, plan.rows_per_tile
    seen = torch.nn.functional.pad(seen, (0, -700 % keys_per_tile))
    full = edge = skipped = 0
    for row in range(0, 1400, rows_per_tile):
        for key in range(0, 700, keys_per_tile):
            for tile in seen[:, row : row + rows_per_tile, key : key + keys_per_tile]:
                full += bool(tile.all())
                skipped += not tile.any()
                edge += bool(tile.any() and not tile.all())
    assert (plan.full, plan.edge, plan.skipped) == (2 * full, 2 * edge, 2 * skipped)


def test_full_causal_visits_half():
    plan = attention_plan((1, 4, 8192, 128), (1, 4, 8192, 128), torch.bfloat16)
    total = visited(plan) + plan.skipped
    assert total == 4 * -(-8192 // plan.rows_per_tile) * -(-8192 // plan.keys_per_tile)
    assert 0.5 < visited(plan) / total < 0.54
    row_tiles = 4 * -(-8192 // plan.rows_per_tile)
    assert plan.edge <= 2 * row_tiles and plan.full > 5 * row_tiles  # masks on the diagonal alone


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_window_costs_what_it_sees(dtype):
    """Tiles visited per query do not grow with the sequence: work is linear in S and the window."""
    window = Window(8, block=FRAME, sink=300)
    for length in (10_000, 40_000, 100_000):
        shape = (1, 2, length, 128)
        plan = attention_plan(shape, shape, dtype, window=window)
        rows = 2 * -(-length // plan.rows_per_tile)
        assert visited(plan) + plan.skipped == rows * -(-length // plan.keys_per_tile)
        # a range of n keys touches at most n / tile + 2 tiles
        seen = (8 * FRAME + plan.rows_per_tile) / plan.keys_per_tile + 2
        assert visited(plan) <= rows * (seen + 300 / plan.keys_per_tile + 2)


def test_first_keys_cost_what_they_see():
    """Text between frames of unequal size: the tiles of a window of so many keys."""
    for length in (10_000, 40_000):
        shape, index = (1, 1, length, 64), torch.arange(length)
        first_key = (index - 1000 - index * 7919 % 500).int()[None]
        plan = attention_plan(shape, shape, window=Window(first_key=first_key, sink=300))
        rows = -(-length // plan.rows_per_tile)
        seen = (1500 + plan.rows_per_tile) / plan.keys_per_tile + 2
        assert visited(plan) <= rows * (seen + 300 / plan.keys_per_tile + 2)


def test_dense_rows_alone_see_everything():
    shape = (1, 1, 20_000, 64)
    window = attention_plan(shape, shape, window=Window(1000))
    question = attention_plan(shape, shape, window=Window(1000, dense_from=19_950))
    tiles = 20_000 // window.keys_per_tile + 1
    assert 0 < visited(question) - visited(window) <= tiles * (50 / window.rows_per_tile + 2)


# of two threads: queries and keys are pairs of bfloat16, or floats, on every level without pairs
SCRATCH = {"bfloat16 dot products": 2 * 2**20, "float32 multiply-adds": 2 * 1.35e6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_scratch_does_not_grow_with_the_sequence(dtype):
    plans = [
        attention_plan((1, 8, n, 128), (1, 8, n, 128), dtype, threads=2) for n in (4_000, 400_000)
    ]
    most = SCRATCH[plans[0].arithmetic]
    assert plans[0].scratch_bytes == plans[1].scratch_bytes < most


def test_a_partial_result_of_decode_is_small():
    decode = attention_plan((1, 32, 1, 128), (1, 8, 100_000, 128), torch.bfloat16, q_offset=99_999)
    assert decode.scratch_bytes < 0.01 * (2 * 8 * 100_000 * 128 * 2)  # of the keys and values


def test_which_kernel_and_why():
    keys = (1, 4, 5000, 128)
    decode = attention_plan((1, 28, 1, 128), keys, q_offset=4999)
    assert decode.kernel == "decode" and "7 rows of a key head" in decode.reason
    assert decode.rows_per_tile == 7 and decode.tasks == 4 * -(-5000 // 1024)
    chunk = attention_plan((1, 28, 3, 128), keys, q_offset=4997)
    assert chunk.kernel == "prefill" and "21 rows of a key head, more than 16" in chunk.reason
    odd = attention_plan((1, 4, 1, 33), (1, 4, 5000, 33), q_offset=4999)
    assert odd.kernel == "decode"
    wide = attention_plan((1, 4, 1, 264), (1, 4, 5000, 264), q_offset=4999)
    assert wide.kernel == "prefill" and "head_dim 264 is more than 256" in wide.reason


def test_arithmetic_is_that_of_the_level():
    level = build_info()["cpu_level"]
    shape = (1, 1, 100, 64)
    plans = {
        dtype: attention_plan(shape, shape, dtype) for dtype in (torch.float32, torch.bfloat16)
    }
    assert {plan.level for plan in plans.values()} == {level}
    assert plans[torch.float32].arithmetic == "float32 multiply-adds"
    expected = "bfloat16 dot products" if level == "avx512_bf16" else "float32 multiply-adds"
    assert plans[torch.bfloat16].arithmetic == expected


def test_every_thread_finds_work():
    shape = (1, 2, 4000, 64)
    for threads in (1, 2, 16):
        plan = attention_plan(shape, shape, threads=threads)
        assert plan.tasks >= 2 * threads


def test_which_cuda_kernel_and_why():
    def plan(rows, dim=128, dtype=torch.bfloat16, heads=28, **options):
        shapes = (1, heads, rows, dim), (1, 4, 32_000, dim)
        return attention_plan(*shapes, dtype, device="cuda", multiprocessors=132, **options)

    prefill = plan(32_000)
    assert prefill.kernel == "prefill" and "more than 16" in prefill.reason
    assert (prefill.rows_per_tile, prefill.keys_per_tile) == (128, 64)
    assert prefill.tasks == 4 * 7 * 32_000 // 128 and prefill.scratch_bytes == 0
    decode = plan(1, q_offset=31_999)
    assert decode.kernel == "decode" and "7 rows of a key head, at most 16" in decode.reason
    assert "66 blocks share the keys" in decode.reason and decode.tasks == 2 * 132
    assert decode.scratch_bytes == 4 * decode.tasks * 7 * (128 + 2)
    question = plan(40, q_offset=31_960)
    assert question.kernel == "prefill" and question.tasks == 4 * 3 * (2 * 132 // 12)
    for reason, found in {
        "float32": plan(9, dtype=torch.float32),
        "head_dim 36 is no multiple of 8": plan(9, 36),
        "head_dim 264, more than 256": plan(9, 264),
    }.items():
        assert found.kernel == "plain" and reason in found.reason
    wide = plan(2, 256)
    assert wide.kernel == "prefill" and "head_dim 256, more than 128" in wide.reason


def test_cuda_visits_what_is_seen():
    shape = (1, 2, 4000, 64)
    window = Window(500)
    plan = attention_plan(shape, shape, torch.float16, window=window, device="cuda")
    assert visited(plan) <= 2 * 32 * (628 / 64 + 2) and plan.full > plan.edge / 2
    assert visited(plan) + plan.skipped == 2 * 32 * 63


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (((1, 2, 3), (1, 2, 3, 4)), ValueError, "q_shape"),
        (((1, 2, 3, 4), (1, 2, 0, 4)), ValueError, "k_shape"),
        (((1, 2, 3, 4), (2, 2, 3, 4)), ValueError, "k_shape: expected q_shape's batch"),
        (((1, 3, 3, 4), (1, 2, 3, 4)), ValueError, "divides its 3"),
        (((1, 2, 3, 4), (1, 2, 3, 4), torch.float64), TypeError, "dtype: expected float32"),
    ],
)
def test_bad_input(arguments, error, named):
    with pytest.raises(error, match=f"attention_plan: .*{named}"):
        attention_plan(*arguments)


def test_bad_device():
    with pytest.raises(ValueError, match="attention_plan: device: expected 'cpu' or 'cuda'"):
        attention_plan((1, 2, 3, 4), (1, 2, 3, 4), device="tpu")
