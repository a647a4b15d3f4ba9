"""Checks of arguments that are no tensors, in the words of ``_checks.py``."""

from __future__ import annotations

import math
import numbers
from typing import cast

import torch


def integer(op: str, name: str, x: object) -> int:
    if isinstance(x, bool) or not isinstance(x, (int, torch.SymInt)):
        raise TypeError(f"{op}: {name}: expected an int, got {type(x).__name__}")
    return cast(int, x)  # in a graph, a torch.SymInt does what an int does


def count(op: str, name: str, x: object, least: int = 0) -> int:
    number = integer(op, name, x)
    if number < least:
        raise ValueError(f"{op}: {name}: expected at least {least}, got {number}")
    return number


def number(op: str, name: str, x: object) -> float:
    if isinstance(x, bool) or not isinstance(x, (numbers.Real, torch.SymInt, torch.SymFloat)):
        raise TypeError(f"{op}: {name}: expected a number, got {type(x).__name__}")
    value = cast(float, x)
    if not -math.inf < value < math.inf:  # math.isfinite() takes no SymFloat
        raise ValueError(f"{op}: {name}: expected a finite number, got {x}")
    return value


def flag(op: str, name: str, x: object) -> bool:
    if not isinstance(x, bool):
        raise TypeError(f"{op}: {name}: expected True or False, got {type(x).__name__}")
    return x
