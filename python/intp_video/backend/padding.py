"""The padding of a batch as our kernels take it: at the ends of each row."""

from __future__ import annotations

import torch


def padding_bounds(attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 ``[B]`` lo and hi: each row's first kept key and the one after its last; or 0, 0."""
    kept = attention_mask.bool()
    length = kept.shape[1]
    some = kept.any(-1)
    lo = kept.int().argmax(-1)
    hi = length - kept.flip(-1).int().argmax(-1)
    return torch.where(some, lo, 0), torch.where(some, hi, 0)


@torch.compiler.disable
def padding_has_holes(attention_mask: torch.Tensor) -> tuple[bool, bool]:
    """Whether some row of ``[B, K]`` has padding between kept keys, and whether one has padding at
    its end, which will stand between kept keys as soon as a token follows."""
    lo, hi = padding_bounds(attention_mask)
    return bool(_holes(attention_mask, lo, hi).any()), bool((hi < attention_mask.shape[1]).any())


def refuse_holes_on_the_device(attention_mask: torch.Tensor) -> None:
    """Raise when the device gets there, if there are holes: nothing waits for it."""
    holes = _holes(attention_mask, *padding_bounds(attention_mask)).any()
    torch._assert_async(
        ~holes,
        'attn_implementation="intp", compiled: padding between kept tokens; pad on the left, or '
        "make the mask outside of the compiled function",
    )


def _holes(attention_mask: torch.Tensor, lo: torch.Tensor, hi: torch.Tensor) -> torch.Tensor:
    return (hi - lo) != attention_mask.bool().sum(-1)
