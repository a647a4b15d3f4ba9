"""Results of the commands, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .published import BENCHMARKS, Benchmark

Found = dict[str, dict[int, float]]  # by method, then by number of frames: per cent


def read_results(folder: str | Path) -> dict[str, Found]:
    """Per cent by set, method and frames; a set without results is left out.

    Args:
        folder: with ``NAME/summary.json`` of ``intp-video eval`` for each set, and for open answers
            ``NAME/judged.json``: ``{"intp-32-ntk": 71.5, ...}``.

    Raises:
        OSError: there is no such folder.
        ValueError: a file that is none of these.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected the folder of the results")
    found = {}
    for benchmark in BENCHMARKS:
        result = _read(folder / benchmark.name, benchmark)
        if result:
            found[benchmark.name] = result
    return found


def _read(folder: Path, benchmark: Benchmark) -> Found:
    summary, judged = folder / "summary.json", folder / "judged.json"
    if not summary.exists() or (benchmark.judge and not judged.exists()):
        return {}
    arms = _loaded(summary).get("arms")
    if not isinstance(arms, list):
        raise ValueError(f"{summary}: expected what intp-video eval writes, with 'arms'")
    scores = _loaded(judged) if benchmark.judge else {}
    found: Found = {}
    for arm in arms:
        if not benchmark.judge:
            value = 100 * arm["accuracy"]["mean"]
        elif arm["arm"] in scores:
            value = float(scores[arm["arm"]])
        else:
            continue
        found.setdefault(arm["method"], {})[arm["frames"]] = value
    return found


def _loaded(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected an object, got {type(values).__name__}")
    return values
