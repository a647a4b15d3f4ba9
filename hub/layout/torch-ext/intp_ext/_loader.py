"""What this build holds: the Hub builds the operators for one device at a time."""

from __future__ import annotations

import torch

from ._ops import add_op_namespace_prefix

CUDA_LOADED = torch._C._dispatch_has_kernel_for_dispatch_key(
    add_op_namespace_prefix("rearrange"), "CUDA"
)
CUDA_REASON = "this is the kernel's build for CUDA" if CUDA_LOADED else "this is its CPU build"
