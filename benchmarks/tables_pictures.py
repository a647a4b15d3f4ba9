"""The pictures beside the results."""

from __future__ import annotations

import json
from pathlib import Path

from tables_common import CPU, ROOT, SMALL_MODEL


def of_small_model() -> dict[Path, str]:
    """The SVG of every evaluation, by path: the same text wherever it is drawn."""
    from intp_video.lab.evaluation.plot import accuracy_plot

    summaries = {path: json.loads(path.read_text()) for path in (ROOT / SMALL_MODEL).glob("*.json")}
    return {
        path.with_suffix(".svg"): accuracy_plot(summary)
        for path, summary in sorted(summaries.items())
        if "baseline" in summary
    }


def draw_benchmarks() -> None:
    """PNG, by matplotlib: other bytes from another release of it."""
    import plot

    pictures = [*(ROOT / CPU).glob("*.png"), *(ROOT / SMALL_MODEL).glob("*.png")]
    plot.main([str(picture.with_suffix(".json")) for picture in sorted(pictures)])
