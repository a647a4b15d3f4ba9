"""The one tolerance policy: at most twice the error that eager PyTorch makes in the same dtype.

Errors are largest absolute differences from a float64 reference, computed from the SAME inputs as
the low precision ones. The epsilon allows one rounding of the largest value: eager PyTorch may hit
an exact result by luck.
"""

import torch

EPSILON = {
    dtype: torch.finfo(dtype).eps for dtype in (torch.float32, torch.bfloat16, torch.float16)
}


def allowed_error(eager: torch.Tensor, exact: torch.Tensor) -> float:
    """Of the operator, where ``eager`` has the error that it has against ``exact``."""
    eager_error = (eager.double() - exact).abs().max().item()
    return 2 * eager_error + EPSILON[eager.dtype] * exact.abs().max().item()


def assert_as_good_as_eager(
    actual: torch.Tensor,
    eager: torch.Tensor,
    exact: torch.Tensor,
    *,
    limit: float | None = None,
) -> None:
    """``actual``: the operator; ``eager``: PyTorch in the same dtype; ``exact``: float64.
    ``limit``: of the error, where ``eager`` is a part of what tells it."""
    assert actual.shape == exact.shape and eager.shape == exact.shape
    assert actual.dtype == eager.dtype
    if exact.numel() == 0:
        return
    error = (actual.double() - exact).abs().max().item()
    limit = allowed_error(eager, exact) if limit is None else limit
    assert error <= limit, f"largest error {error:.3e}, limit {limit:.3e}"
