"""What autograd has to be told of tensors that are written."""

from __future__ import annotations

import torch


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
