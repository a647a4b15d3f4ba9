"""The paper's numbers beside those of a run, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from .published import BENCHMARKS, FRAMES, INTP_FRAMES, SOURCE, STOCK_FRAMES
from .results import Found

NOT_RUN = "Nothing in this table was run here: the columns of a run are empty."


def table(found: Mapping[str, Found]) -> str:
    """Markdown, with empty cells for what has not been run.

    Args:
        found: see :func:`intp_video.lab.reproduce_paper.results.read_results`.
    """
    header = ["set", f"paper: {STOCK_FRAMES} frames", f"paper: {INTP_FRAMES} frames", "paper: gain"]
    header += [f"stock, {STOCK_FRAMES} frames"]
    header += [f"INTP, {frames} frames" for frames in FRAMES]
    header += [f"gain at {INTP_FRAMES}"]
    rows = [header, ["---"] * len(header)]
    for benchmark in BENCHMARKS:
        run = found.get(benchmark.name, {})
        stock, intp = run.get("stock", {}), run.get("intp", {})
        gain = None
        if STOCK_FRAMES in stock and INTP_FRAMES in intp:
            gain = intp[INTP_FRAMES] - stock[STOCK_FRAMES]
        cells = [
            _shown(benchmark.stock),
            _shown(benchmark.intp),
            f"{benchmark.gain:+.1f}",
            _shown(stock.get(STOCK_FRAMES)),
            *(_shown(intp.get(frames)) for frames in FRAMES),
            "" if gain is None else f"{gain:+.1f}",
        ]
        rows.append([benchmark.title, *cells])
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    notes = [f"Per cent right. Paper: {SOURCE}."]
    if not found:
        notes.append(NOT_RUN)
    if any(benchmark.judge for benchmark in BENCHMARKS):
        open_sets = ", ".join(b.title for b in BENCHMARKS if b.judge)
        notes.append(
            f"{open_sets} are judged by a language model, whose scores move with its version: "
            "compare the gains, not the levels."
        )
    return "\n".join((*lines, "", *notes)) + "\n"


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
