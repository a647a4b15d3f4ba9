"""Accuracy over frames as an SVG picture, drawn without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 860, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 250, 30, 56
_COLORS = ("#1f5fbf", "#e07b00", "#2a9d5c", "#8250b4", "#c23b3b", "#666666", "#0e8a8a", "#a5780b")


def accuracy_plot(summary: Mapping[str, Any]) -> str:
    """One line for every method, RoPE, window and cache, with 95% intervals; dotted, what perfect
    eyes could say after those frames; dashed, guessing."""
    rows = summary["arms"]
    lines: dict[str, list[dict]] = {}
    for row in rows:
        name = " ".join(
            str(part)
            for part in (
                row["method"],
                row["rope"],
                row["window"] and f"window {row['window']}",
                row["kv_bits"] and f"{row['kv_bits']} bits",
            )
            if part
        )
        lines.setdefault(name, []).append(row)
    counts = sorted({row["frames"] for row in rows})
    marks = [_axes(counts)]
    if "all" in summary["guess"]:
        y = _y(summary["guess"]["all"])
        marks.append(_path([(_LEFT, y), (_WIDTH - _RIGHT, y)], "#999999", dash="6 5"))
        marks.append(_text(_WIDTH - _RIGHT + 8, y + 4, "guessing", "#777777"))
    observed = {r["frames"]: r["observer"] for r in rows if r["observer"] is not None}
    if observed:
        points = [(_x(n, counts), _y(v)) for n, v in sorted(observed.items())]
        marks.append(_path(points, "#333333", dash="2 4"))
    for number, (name, of_line) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        shift = 3 * (number - (len(lines) - 1) / 2)  # so that intervals stand side by side
        points = []
        for row in sorted(of_line, key=lambda row: row["frames"]):
            x, found = _x(row["frames"], counts) + shift, row["accuracy"]
            points.append((x, _y(found["mean"])))
            marks.append(_path([(x, _y(found["low"])), (x, _y(found["high"]))], color))
        marks.append(_path(points, color, width=2.2))
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>' for x, y in points]
        y = _TOP + 14 + 20 * number
        left = _WIDTH - _RIGHT + 70
        marks.append(_path([(left, y), (left + 22, y)], color, width=2.2))
        marks.append(_text(left + 30, y + 4, name))
    if observed:
        y = _TOP + 14 + 20 * len(lines)
        left = _WIDTH - _RIGHT + 70
        marks.append(_path([(left, y), (left + 22, y)], "#333333", dash="2 4"))
        marks.append(_text(left + 30, y + 4, "perfect eyes"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n'
        + "\n".join(marks)
        + "\n</svg>\n"
    )


def _axes(counts: list[int]) -> str:
    marks = []
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        marks.append(_path([(_LEFT, y), (_WIDTH - _RIGHT, y)], "#e3e5ea"))
        marks.append(_text(_LEFT - 8, y + 4, f"{10 * tenth}%", "#555555", "end"))
    for count in counts:
        x = _x(count, counts)
        marks.append(_text(x, _HEIGHT - _BOTTOM + 22, str(count), "#555555", "middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    marks.append(_text(middle, _HEIGHT - 12, "frames shown", "#222222", "middle"))
    marks.append(_text(_LEFT - 8, _TOP - 12, "right answers", "#222222"))
    return "\n".join(marks)


def _x(frames: int, counts: list[int]) -> float:
    low, high = math.log2(counts[0]), math.log2(counts[-1])
    part = 0.5 if low == high else (math.log2(frames) - low) / (high - low)
    return _LEFT + 24 + part * (_WIDTH - _LEFT - _RIGHT - 48)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)


def _path(points: list, color: str, width: float = 1.2, dash: str = "") -> str:
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{at}" fill="none" stroke="{color}" stroke-width="{width}"{dashes}/>'


def _text(x: float, y: float, text: str, color: str = "#222222", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}">{escape(text)}</text>'
    )
