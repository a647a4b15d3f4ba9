"""What the pages' tables and sentences are made with: results by name, Markdown, intervals."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ZEN4 = "benchmarks/results/amd-epyc-zen4-2core"
ZEN5 = "benchmarks/results/amd-epyc-zen5-2core"
ZEN4_AVX2, ZEN5_AVX2 = f"{ZEN4}-avx2", f"{ZEN5}-avx2"  # INTP_EXT_CPU=avx2
SMALL_MODEL = "benchmarks/results/small-model"
MOTION = "benchmarks/results/motion"
REAL_MODEL = "benchmarks/results/real-model"


@cache
def load(name: str) -> Any:
    """The JSON at ``ROOT/name.json``."""
    return json.loads((ROOT / f"{name}.json").read_text())


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def paragraph(text: str) -> str:
    """Broken into lines between words."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def interval(found: dict[str, float], sign: str = "") -> str:
    """Per cent or points: mean and the ends of the 95% interval."""
    mean, low, high = (f"{100 * found[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
