"""The one tolerance policy: at most twice the error that eager PyTorch makes in the same dtype.

Errors are largest absolute differences from a float64 reference, computed from the SAME inputs as
the low precision ones. The epsilon allows one rounding of the largest value: eager PyTorch may hit
an exact result by luck.
"""

import torch

EPSILON = {
    dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.bfloat16, torch.float16)
}


def assert_as_good_as_eager(
    actual: torch.Tensor,
    eager: torch.Tensor,
    exact: torch.Tensor,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """``actual``: the operator; ``eager``: PyTorch in the same dtype; ``exact``: float64."""
    dtype = dtype or actual.dtype
    assert actual.shape == exact.shape and eager.shape == exact.shape
    assert actual.dtype == dtype
    if exact.numel() == 0:
        return
    error = (actual.double() - exact).abs().max().item()
    eager_error = (eager.double() - exact).abs().max().item()
    limit = 2 * eager_error + EPSILON[dtype] * exact.abs().max().item()
    found = f"largest error {error:.3e}, eager PyTorch's {eager_error:.3e}, limit {limit:.3e}"
    assert error <= limit, found
