"""The CUDA kernels of token_order, rearrange and apply_rope, run on the CPU."""

import pytest
import torch
from cuda_on_host.comparisons import RearrangeCase, RopeCase
from hypothesis import given, settings
from hypothesis import strategies as st

from intp_ext import reference

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
INDICES = [torch.int32, torch.int64]
SEEDS = st.integers(0, 1000)


@pytest.mark.parametrize("grouping", reference.GROUPINGS)
@pytest.mark.parametrize("shape", [(8, 8, 257), (1, 1, 1), (3, 0, 2)])
def test_token_order(library, shape, grouping):
    out = torch.full((shape[0] * shape[1] * shape[2],), -7, dtype=torch.int32)
    library.ops.token_order(*shape, grouping == "interleaved", out=out)
    assert torch.equal(out, reference.token_order(*shape, grouping))


@settings(deadline=None, max_examples=60)
@given(
    st.builds(
        RearrangeCase,
        batch=st.integers(0, 3),
        rows=st.integers(1, 20),
        length=st.integers(0, 30),
        channels=st.one_of(st.integers(0, 40), st.sampled_from([64, 512, 520, 1030])),
        dtype=st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64]),
        index=st.sampled_from(INDICES),
        batched=st.booleans(),
        bad=st.booleans(),
        strided=st.booleans(),
        offset=st.integers(0, 16),
        seed=SEEDS,
    )
)
def test_rearrange(library, case):
    case.check(library)


@settings(deadline=None, max_examples=100)
@given(
    st.builds(
        RopeCase,
        batch=st.integers(0, 3),
        heads=st.tuples(st.integers(0, 5), st.integers(1, 3)),
        rows=st.integers(1, 20),
        length=st.integers(0, 20),
        half=st.one_of(st.integers(1, 40), st.sampled_from([8, 16, 32, 64])),
        rest=st.sampled_from([0, 0, 1, 8, 16]),
        dtype=st.sampled_from(DTYPES),
        layout=st.sampled_from(["transposed", "contiguous", "poisoned"]),
        offset=st.sampled_from([0, 0, 1, 4]),
        positions=st.sampled_from(["[S]", "[1, S]", "[B, S]", "[3, 1, S]", "[3, B, S]"]),
        position_dtype=st.sampled_from([*INDICES, torch.float32]),
        interleaved=st.booleans(),
        order=st.sampled_from([None, "[S]", "[B, S]"]),
        index=st.sampled_from(INDICES),
        bad=st.booleans(),
        scaling=st.sampled_from([1.0, 1.25]),
        seed=SEEDS,
    )
)
def test_apply_rope(library, case):
    case.check(library)


@pytest.mark.parametrize(
    "case",
    [
        RearrangeCase(batch=1100, rows=2, length=1, channels=1),  # more than a grid has
        RearrangeCase(batch=1, rows=3, length=3, channels=40000),  # rows in many parts
        RopeCase(batch=1100, heads=(1, 0), rows=1, half=1, positions="[B, S]"),
        # several tokens to a block, the last one cut short
        RopeCase(batch=1, rows=2301, half=8, dtype=torch.bfloat16),
        RopeCase(batch=2, rows=1100, length=1201, half=8, rest=3, order="[B, S]", bad=True),
        RopeCase(batch=1, heads=(1, 1), rows=1600, half=3, positions="[3, B, S]"),
        # many items to a thread
        RopeCase(batch=1, heads=(33, 5), rows=3, half=64, dtype=torch.float16),
    ],
    ids=str,
)
def test_large(library, case):
    case.check(library)
