# What the pybind11 module of csrc/info/ holds, for type checkers.

from collections.abc import Sequence
from typing import Any

def build_info() -> dict[str, Any]: ...
def cpu_level() -> str: ...

class AttentionProblem:
    def __init__(
        self,
        q_shape: Sequence[int],
        k_shape: Sequence[int],
        dtype: str,
        bounds: Sequence[Sequence[int]],
        window: int | None,
        block: int,
        sink: int,
        first_key: Sequence[int] | None,
        value_dim: int,
        /,
    ) -> None: ...

def attention_plan_cpu(problem: AttentionProblem, threads: int, /) -> dict[str, Any]: ...
def attention_plan_cuda(problem: AttentionProblem, multiprocessors: int, /) -> dict[str, Any]: ...
