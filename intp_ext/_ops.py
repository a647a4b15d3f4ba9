"""The name that the operators are registered under, said once.

In the Hub's layout (docs/hub_kernel.md) the kernel builder writes this module, with a name that no
other build has; hence what is in it, and how that is called.
"""

from __future__ import annotations

import torch

ops = torch.ops.intp_ext


def add_op_namespace_prefix(op_name: str) -> str:
    return f"intp_ext::{op_name}"
