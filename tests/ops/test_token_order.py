import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import intp_ext
from intp_ext import reference

COUNT = st.integers(0, 9)


def test_interleaved_by_hand():
    # frames 0 2 4 | 1 3 5, two tokens each: time order takes frames 0 1 2 3 4 5
    order = intp_ext.token_order(groups=2, frames_per_group=3, tokens_per_frame=2)
    assert order.dtype == torch.int32
    assert order.tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]


@given(COUNT, COUNT, COUNT, st.sampled_from(reference.GROUPINGS))
def test_is_the_permutation_of_the_definition(groups, frames, tokens, grouping):
    order = intp_ext.token_order(groups, frames, tokens, grouping)
    assert torch.equal(order, reference.token_order(groups, frames, tokens, grouping))
    intp_ext.validate(order)


def test_opcheck():
    out = torch.empty(24, dtype=torch.int32)
    torch.library.opcheck(torch.ops.intp_ext.token_order, (4, 3, 2, True), {"out": out})


def test_compiles_whole():
    compiled = torch.compile(
        lambda x: x + intp_ext.token_order(4, 2, x.shape[0] // 8),
        fullgraph=True,
        backend="aot_eager",
    )
    x = torch.zeros(24, dtype=torch.int32)
    assert torch.equal(compiled(x), reference.token_order(4, 2, 3))


@pytest.mark.parametrize(
    "args, error, message",
    [
        ((2.0, 3, 2), TypeError, "token_order: groups: expected an int, got float"),
        ((2, True, 2), TypeError, "token_order: frames_per_group: expected an int, got bool"),
        ((2, 3, -1), ValueError, "token_order: tokens_per_frame: expected at least 0, got -1"),
        ((2, 3, 2, "random"), ValueError, "grouping: expected one of .* got 'random'"),
        ((1 << 16, 1 << 10, 1 << 10), ValueError, "fewer than 2\\^31 tokens"),
    ],
)
def test_bad_input(args, error, message):
    with pytest.raises(error, match=message):
        intp_ext.token_order(*args)
