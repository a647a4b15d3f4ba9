"""How a call of :func:`intp_ext.attention` is computed, without computing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from . import _checks, _info
from .window import Bounds, Window


@dataclass(frozen=True)
class AttentionPlan:
    """What :func:`intp_ext.attention` does with inputs of given shapes.

    Queries and keys of each key head are cut into tiles. A row is one query of one of the heads
    that share the key head.

    Attributes:
        kernel: ``"prefill"`` or ``"decode"`` (few rows: bound by reading the keys); on CUDA also
            ``"plain"`` (without tensor cores: float32, or rows not aligned to 16 bytes).
        reason: why this kernel.
        level: instruction set of the kernel; on CUDA the lowest compute capability.
        arithmetic: how its products are computed.
        rows_per_tile, keys_per_tile: size of a tile.
        full: tiles in which every row sees every key.
        edge: tiles that need a mask.
        skipped: tiles in which no row sees any key: they cost nothing.
        tasks: pieces that the threads share; on CUDA, blocks.
        scratch_bytes: memory besides inputs and output. On the CPU, prefill's does not depend on Sq
            and Skv, and decode's is one partial result per 1024 keys. On CUDA it is one partial
            result of every row for each block that shares its keys, or none if rows suffice.
    """

    kernel: str
    reason: str
    level: str
    arithmetic: str
    rows_per_tile: int
    keys_per_tile: int
    full: int
    edge: int
    skipped: int
    tasks: int
    scratch_bytes: int


def attention_plan(
    q_shape: Sequence[int],
    k_shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    *,
    window: Window | None = None,
    q_offset: int | torch.Tensor = 0,
    kv_bounds: torch.Tensor | None = None,
    value_dim: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    multiprocessors: int | None = None,
) -> AttentionPlan:
    """The schedule of ``attention(q, k, v, ...)``, from the kernel's own code.

    Args:
        q_shape: ``B, Hq, Sq, D``.
        k_shape: ``B, Hkv, Skv, D``.
        dtype: of q, k and v.
        window, q_offset, kv_bounds: as :func:`intp_ext.attention` takes them, on the CPU.
        value_dim: channels of v; None for those of q and k.
        threads: of the CPU; None for ``torch.get_num_threads()``.
        device: ``"cpu"`` or ``"cuda"``; for CUDA no GPU is needed, and inputs are taken to lie on
            16 bytes.
        multiprocessors: of the GPU; None for those of the current one, and where there is none for
            the 132 of an H100 or H200.

    Raises:
        TypeError: a dtype that attention does not take, an argument of another type.
        ValueError: shapes that do not fit or are empty, another device, no threads.
    """
    where = "attention_plan"
    if dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"{where}: dtype: expected float32, bfloat16 or float16, got {dtype}")
    q_shape, k_shape = (
        _check_shape(where, name, x) for name, x in (("q_shape", q_shape), ("k_shape", k_shape))
    )
    if k_shape[0] != q_shape[0] or k_shape[3] != q_shape[3] or q_shape[1] % k_shape[1]:
        raise ValueError(
            f"{where}: k_shape: expected q_shape's batch and head_dim and a number of heads that "
            f"divides its {q_shape[1]}, got {list(k_shape)}"
        )
    if device not in ("cpu", "cuda"):
        raise ValueError(f"{where}: device: expected 'cpu' or 'cuda', got {device!r}")
    if value_dim is not None and _checks.count(where, "value_dim", value_dim, least=1) > q_shape[3]:
        raise ValueError(f"{where}: value_dim: expected at most {q_shape[3]}, got {value_dim}")
    for name, value in (("threads", threads), ("multiprocessors", multiprocessors)):
        if value is not None:
            _checks.count(where, name, value, least=1)
    bounds = Bounds.of(
        window,
        batch=q_shape[0],
        queries=q_shape[2],
        keys=k_shape[2],
        device=torch.device("cpu"),
        q_offset=q_offset,
        kv_bounds=kv_bounds,
        where=where,
    )
    first_key = None
    if bounds.first_key is not None:
        first_key = bounds.first_key.expand(q_shape[0], -1).flatten().tolist()
    problem = _info.AttentionProblem(
        q_shape,
        k_shape,
        str(dtype).removeprefix("torch."),
        bounds.rows.tolist(),
        bounds.size,
        bounds.block,
        bounds.sink,
        first_key,
        q_shape[3] if value_dim is None else value_dim,
    )
    if device == "cpu":
        return AttentionPlan(
            **_info.attention_plan_cpu(problem, threads or torch.get_num_threads())
        )
    return AttentionPlan(
        **_info.attention_plan_cuda(problem, multiprocessors or _multiprocessors())
    )


def _check_shape(where: str, name: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or len(shape) != 4:
        raise ValueError(f"{where}: {name}: expected [B, H, S, D], got {shape}")
    for x in shape:
        _checks.integer(where, name, x)
    if min(shape) < 1:
        raise ValueError(
            f"{where}: {name}: expected [B, H, S, D] with at least 1 of each, got {list(shape)}: "
            "without any there is nothing to plan"
        )
    return tuple(shape)


def _multiprocessors() -> int:
    if not torch.cuda.is_available():
        return 132
    return torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
