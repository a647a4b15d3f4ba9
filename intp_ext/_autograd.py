"""What autograd has to be told of an operator, and when it need not be asked."""

from __future__ import annotations

import torch


def needs_autograd(*tensors: torch.Tensor | None) -> bool:
    """Must this call go by the operator that has a derivative?

    Its way through Python takes longer than the kernels of one decoded token; the operator with
    ``no_grad`` in its name is the same without it. What is recorded, to run under conditions that
    nobody knows yet, keeps its derivative.
    """
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        return True
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def mark_written(*tensors: torch.Tensor | None) -> None:
    """As torch's own ``out=`` does: a backward that needs what was overwritten raises.

    Compiled code sees from the schemas what is written; tensors of inference mode, which nobody
    derives, have no versions.
    """
    if torch.compiler.is_compiling():
        return
    torch.autograd.graph.increment_version(
        [x for x in tensors if x is not None and not x.is_inference()]
    )
