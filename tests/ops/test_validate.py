import pytest
import torch

import intp_ext


def test_accepts_permutations_and_gathers():
    intp_ext.validate(torch.randperm(50))
    intp_ext.validate(torch.stack([torch.randperm(9), torch.randperm(9)]).int())
    intp_ext.validate(torch.tensor([0, 0, 7]), rows=8)
    intp_ext.validate(torch.empty(0, dtype=torch.int32))


@pytest.mark.parametrize(
    "order, rows, error, message",
    [
        (torch.tensor([0, 1, 3]), None, ValueError, r"order\[2\]: expected 0 <= row < 3, got 3"),
        (torch.tensor([[0, 1], [-1, 0]]), None, ValueError, r"order\[1, 0\]: .* got -1"),
        (
            torch.tensor([[0, 1, 2], [2, 0, 2]]),
            None,
            ValueError,
            "permutation of 0..2, got 2 twice",
        ),
        (torch.tensor([0, 8]), 8, ValueError, "expected 0 <= row < 8, got 8"),
        (torch.tensor(0), None, ValueError, "order: expected"),
        (torch.tensor([0.0]), None, TypeError, "order: expected int32 or int64"),
        (torch.tensor([0]), 1.5, TypeError, "rows: expected an int, got float"),
    ],
)
def test_refuses(order, rows, error, message):
    with pytest.raises(error, match=message):
        intp_ext.validate(order, rows)
