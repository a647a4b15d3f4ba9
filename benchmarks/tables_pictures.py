"""The pictures beside the results."""

from __future__ import annotations

import json
from pathlib import Path

from tables_common import MOTION, REAL_MODEL, ROOT, SMALL_MODEL, ZEN4, ZEN5


def of_evaluations() -> dict[Path, str]:
    """The SVG of every evaluation, by path: the same text wherever it is drawn."""
    from intp_video.lab.evaluation.plot import accuracy_plot

    summaries = {
        path: json.loads(path.read_text())
        for folder in (SMALL_MODEL, MOTION)
        for path in (ROOT / folder).glob("*.json")
        if path.with_suffix(".svg").exists()
    }
    return {
        path.with_suffix(".svg"): accuracy_plot(summary)
        for path, summary in sorted(summaries.items())
        if "baseline" in summary
    }


def draw_benchmarks() -> None:
    """PNG, by matplotlib: other bytes from another release of it."""
    import plot

    folders = (ZEN4, ZEN5, SMALL_MODEL, REAL_MODEL)
    pictures = [path for folder in folders for path in (ROOT / folder).glob("*.png")]
    plot.main([str(picture.with_suffix(".json")) for picture in sorted(pictures)])
