"""Every check of the public operators: one line that names operator, argument, expected and got.

The C++ side repeats only what keeps it inside its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import _loader
from ._scalars import count as count
from ._scalars import integer as integer
from ._scalars import number as number
from .rope import Rope

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
INDICES = (torch.int32, torch.int64)
POSITIONS = (*INDICES, torch.float32)
KERNEL_DEVICES = ("cpu", "cuda", "meta")


def _names(dtypes: Sequence[torch.dtype]) -> str:
    *most, last = (str(dtype).removeprefix("torch.") for dtype in dtypes)
    return f"{', '.join(most)} or {last}" if most else last


def tensor(
    op: str, name: str, x: object, dtypes: Sequence[torch.dtype] | None = None
) -> torch.Tensor:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{op}: {name}: expected a tensor, got {type(x).__name__}")
    if dtypes is not None and x.dtype not in dtypes:
        raise TypeError(f"{op}: {name}: expected {_names(dtypes)}, got {x.dtype}")
    return x


def kernel_device(op: str, name: str, x: torch.Tensor) -> None:
    if x.is_cpu:
        return  # device.type makes a string at every call, which takes longer than all other checks
    kind = x.device.type
    if kind not in KERNEL_DEVICES:
        raise ValueError(f"{op}: {name}: expected a CPU or CUDA tensor, got {x.device}")
    if kind == "cuda" and not _loader.CUDA_LOADED:
        raise ValueError(
            f"{op}: {name}: is on {x.device}, but the CUDA operators are not loaded: "
            f"{_loader.CUDA_REASON}"
        )


def same_device(op: str, name: str, x: torch.Tensor, like_name: str, like: torch.Tensor) -> None:
    if x.device != like.device:
        raise ValueError(
            f"{op}: {name}: expected on {like_name}'s device {like.device}, got {x.device}"
        )


def has_unit_stride(x: torch.Tensor) -> bool:
    """Of an empty tensor no stride is ever used, nor does ``.contiguous()`` change it."""
    return x.stride()[-1] == 1 or x.shape[-1] <= 1 or x.numel() == 0


def unit_stride(op: str, name: str, x: torch.Tensor) -> None:
    if not has_unit_stride(x):
        raise ValueError(
            f"{op}: {name}: expected unit stride in the last dimension, got strides "
            f"{list(x.stride())}; use .contiguous()"
        )


def states(op: str, name: str, x: object, sizes: str = "[B, H, S, D]") -> torch.Size:
    """Of queries, keys or values where kernels run; returns its shape, which has four ``sizes``."""
    x = tensor(op, name, x, FLOATS)
    shape = x.shape
    if len(shape) != 4:
        raise ValueError(f"{op}: {name}: expected {sizes}, got {list(shape)}")
    kernel_device(op, name, x)
    if not has_unit_stride(x):
        raise ValueError(
            f"{op}: {name}: expected unit stride in D, got strides {list(x.stride())}; use "
            ".contiguous()"
        )
    return shape


def order(op: str, x: object, batch: int, like_name: str, like: torch.Tensor) -> torch.Tensor:
    """int32 or int64 ``[S]`` or ``[B, S]``; what is in it is for the CPU kernel, or validate()."""
    x = tensor(op, "order", x, INDICES)
    if x.dim() not in (1, 2) or (x.dim() == 2 and x.shape[0] not in (1, batch)):
        raise ValueError(f"{op}: order: expected [S] or [{batch}, S], got {list(x.shape)}")
    same_device(op, "order", x, like_name, like)
    return x


def rope_states(op: str, q: torch.Tensor | None, k: torch.Tensor | None) -> torch.Tensor:
    """Checks q and k and returns the one that stands for both."""
    if q is None:
        if k is None:
            raise TypeError(f"{op}: q, k: expected at least one tensor, got None for both")
        states(op, "k", k)
        return k
    batch, _, *rest = states(op, "q", q)
    if k is None:
        return q
    k_batch, _, *k_rest = states(op, "k", k)
    same_device(op, "k", k, "q", q)
    if k.dtype != q.dtype:
        raise TypeError(f"{op}: k: expected q's {q.dtype}, got {k.dtype}")
    if k_batch != batch or k_rest != rest:
        raise ValueError(
            f"{op}: k: expected q's batch, length and head_dim {[batch, *rest]}, got "
            f"{[k_batch, *k_rest]}"
        )
    return q


def rope(op: str, x: object, like_name: str, like: torch.Tensor) -> Rope:
    if not isinstance(x, Rope):
        raise TypeError(f"{op}: rope: expected a Rope, got {type(x).__name__}")
    if x.inv_freq.device != like.device:
        raise ValueError(
            f"{op}: rope: expected frequencies on {like_name}'s device {like.device}, got "
            f"{x.inv_freq.device}; use rope.to(device)"
        )
    if x.rotary_dim > like.shape[-1]:
        raise ValueError(
            f"{op}: rope: expected at most head_dim = {like.shape[-1]} rotary channels, "
            f"got {x.rotary_dim}"
        )
    no_grad(op, "rope.inv_freq", x.inv_freq)
    return x


def positions(
    op: str, x: object, batch: int, length: int, rope: Rope, like_name: str, like: torch.Tensor
) -> torch.Tensor:
    """``[S]``, ``[1 or B, S]`` or, with sections, ``[3, 1 or B, S]``."""
    x = tensor(op, "positions", x, POSITIONS)
    shape = list(x.shape)
    if x.dim() == 3 and rope.sections is None:
        raise ValueError(
            f"{op}: positions: expected [S] or [B, S] for a rope without sections, got {shape}"
        )
    if x.dim() == 2 and x.shape[0] == 3 and batch != 3:
        raise ValueError(
            f"{op}: positions: {shape} is ambiguous; expected [B, S] = [{batch}, {length}], "
            f"or [3, 1, S] for three axes"
        )
    fits = (
        1 <= x.dim() <= 3
        and x.shape[-1] == length
        and (x.dim() < 2 or x.shape[-2] in (1, batch))
        and (x.dim() < 3 or x.shape[0] == 3)
    )
    if not fits:
        axes = f" or [3, 1 or {batch}, {length}]" if rope.sections is not None else ""
        raise ValueError(
            f"{op}: positions: expected [{length}], [1 or {batch}, {length}]{axes}, got {shape}"
        )
    same_device(op, "positions", x, like_name, like)
    no_grad(op, "positions", x)
    return x


def kv_bounds(op: str, x: object, batch: int, device: torch.device) -> torch.Tensor:
    """int32 ``[B, 2]``."""
    x = tensor(op, "kv_bounds", x, (torch.int32,))
    if x.shape != (batch, 2):
        raise ValueError(f"{op}: kv_bounds: expected shape [{batch}, 2], got {list(x.shape)}")
    if x.device != device:
        raise ValueError(f"{op}: kv_bounds: expected on {device}, got {x.device}")
    return x


def no_grad(op: str, name: str, x: torch.Tensor) -> None:
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{op}: {name}: expected no grad; the operator is not differentiable in it"
        )


def out(op: str, name: str, x: object, shape: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    x = tensor(op, name, x)
    if x.dtype != like.dtype:
        raise TypeError(f"{op}: {name}: expected {like.dtype}, got {x.dtype}")
    if tuple(x.shape) != tuple(shape):
        raise ValueError(f"{op}: {name}: expected {list(shape)}, got {list(x.shape)}")
    if x.device != like.device:
        raise ValueError(f"{op}: {name}: expected on {like.device}, got {x.device}")
    unit_stride(op, name, x)
    if not may_write(x):
        raise ValueError(
            f"{op}: {name}: expected a tensor that may be written, got one made in inference mode, "
            "outside of it; use .clone()"
        )
    return x


def may_write(x: torch.Tensor) -> bool:
    """Tensors of inference mode are read-only outside of it. Compiled code cannot ask, and writes
    on copies."""
    if torch.compiler.is_compiling():
        return True
    return torch.is_inference_mode_enabled() or not x.is_inference()


def out_without_grad(op: str, *tensors: torch.Tensor | None) -> None:
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        raise ValueError(f"{op}: out: expected inputs without grad, got one that requires grad")
