"""What the answers add up to: JSON, a Markdown table, a plot, and files for a judge."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...records.files import write_whole
from .arms import METHODS, Arm
from .plot import accuracy_plot
from .predictions import Prediction
from .question_file import VideoQuestion
from .scoring import is_right
from .statistics import accuracy, difference


def summarize(
    questions: Sequence[VideoQuestion],
    arms: Sequence[Arm],
    predictions: Sequence[Prediction],
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Accuracy of every arm, overall and by kind, and paired differences.

    Differences are over the questions that both arms answered: to the first arm
    (``over_baseline``), to INTP with the same frames, RoPE, window and cache (``over_intp``), to
    the same method at the next smaller number of frames (``over_fewer``), and, where keys and
    values are packed, to the same with 16 bits or transformers' own cache (``over_unpacked``).

    Args:
        questions, arms: as asked; ``arms[0]`` is the baseline.
        predictions: what :func:`evaluate` returned.
        about: kept in the result as it is: model, machine, ...
    """
    known = {question.id: question for question in questions}
    right: dict[str, dict[str, bool]] = {arm.name: {} for arm in arms}
    failures = []
    for prediction in predictions:
        question = known[prediction.id]
        if prediction.said is None:
            failures.append({"id": question.id, "arm": prediction.arm, "error": prediction.error})
        else:
            right[prediction.arm][question.id] = is_right(
                prediction.said, question.answer, question.options
            )
    rows = [_row(arm, arms, right, known) for arm in arms if right[arm.name]]
    return {
        "about": dict(about or {}),
        "questions": len(questions),
        "videos": len({question.video for question in questions}),
        "baseline": arms[0].name,
        "guess": _guess_rates(questions),
        "arms": rows,
        "failures": failures,
    }


def _row(arm: Arm, arms: Sequence[Arm], right: dict, known: dict) -> dict[str, Any]:
    own = right[arm.name]
    kinds = sorted({known[i].kind for i in own if known[i].kind})
    row: dict[str, Any] = {
        "arm": arm.name,
        **asdict(arm),
        "accuracy": asdict(accuracy(_by_video(own, known))),
        "kinds": {
            kind: asdict(accuracy(_by_video(_of_kind(own, known, kind), known))) for kind in kinds
        },
        "observer": _observer(own, known, arm.frames),
    }
    fewer = [a for a in arms if _alike(a, arm) and a.frames < arm.frames]
    others = {
        "over_baseline": arms[0] if arm != arms[0] else None,
        "over_intp": next(
            (a for a in arms if a.method == "intp" and _same_place(a, arm) and a != arm), None
        ),
        "over_fewer": max(fewer, key=lambda a: a.frames, default=None),
        "over_unpacked": next((a for a in arms if _is_unpacked(a, arm)), None),
    }
    for name, other in others.items():
        if other is None:
            continue
        pairs = {
            i: float(own[i]) - float(right[other.name][i]) for i in own if i in right[other.name]
        }
        if pairs:
            row[name] = {
                "arm": other.name,
                **asdict(difference(_by_video(pairs, known))),
                "kinds": {
                    kind: asdict(difference(_by_video(_of_kind(pairs, known, kind), known)))
                    for kind in kinds
                    if _of_kind(pairs, known, kind)
                },
            }
    return row


def _alike(one: Arm, other: Arm) -> bool:
    return replace(one, frames=0) == replace(other, frames=0)


def _is_unpacked(one: Arm, other: Arm) -> bool:
    packed = other.kv_bits is not None and other.kv_bits < 16
    unpacked = one.kv_bits in (None, 16)
    return packed and unpacked and replace(one, kv_bits=None) == replace(other, kv_bits=None)


def _same_place(intp: Arm, other: Arm) -> bool:
    """The same frames, and the same RoPE, window and cache where the other has any."""
    return intp.frames == other.frames and (
        other.rope is None or intp == replace(other, method="intp")
    )


def _of_kind(values: dict, known: dict, kind: str) -> dict:
    return {i: value for i, value in values.items() if known[i].kind == kind}


def _by_video(values: dict, known: dict) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for i, value in values.items():
        found[known[i].video].append(float(value))
    return found


def _observer(own: dict, known: dict, frames: int) -> float | None:
    """Accuracy of somebody with perfect eyes who sees just these frames, where known."""
    values = [known[i].observer.get(str(frames)) for i in own]
    return None if not values or None in values else sum(values) / len(values)


def _guess_rates(questions: Sequence[VideoQuestion]) -> dict[str, float]:
    """Of a guess among the options, by kind and overall; questions without options are left out."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        if question.options:
            by_kind[question.kind].append(1 / len(question.options))
    rates = {kind: sum(v) / len(v) for kind, v in by_kind.items() if kind}
    together = [rate for v in by_kind.values() for rate in v]
    return rates | ({"all": sum(together) / len(together)} if together else {})


def write_report(
    directory: str | Path,
    summary: Mapping[str, Any],
    questions: Sequence[VideoQuestion],
    predictions: Sequence[Prediction],
) -> list[Path]:
    """``summary.json``, ``table.md``, ``accuracy.svg`` and ``judge/ARM.jsonl``.

    The last has one line a question, ``{"id", "question", "answer", "pred"}``: what the GPT judges
    of MSVD-QA, MSRVTT-QA and ActivityNet-QA read (Video-ChatGPT, arXiv 2306.05424).
    """
    directory = Path(directory)
    paths = [directory / name for name in ("summary.json", "table.md", "accuracy.svg")]
    write_whole(paths[0], json.dumps(summary, indent=1) + "\n")
    write_whole(paths[1], markdown_table(summary))
    write_whole(paths[2], accuracy_plot(summary))
    known = {question.id: question for question in questions}
    by_arm: dict[str, list[dict]] = defaultdict(list)
    for prediction in predictions:
        if prediction.said is not None:
            question = known[prediction.id]
            by_arm[prediction.arm].append(
                {
                    "id": question.id,
                    "question": question.question,
                    "answer": question.answer,
                    "pred": prediction.said,
                }
            )
    (directory / "judge").mkdir(exist_ok=True)
    for arm, lines in by_arm.items():
        paths.append(directory / "judge" / f"{arm}.jsonl")
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_whole(paths[-1], text)
    return paths


def markdown_table(summary: Mapping[str, Any]) -> str:
    """Per cent, with 95% intervals; differences in points, paired over the same questions."""
    kinds = sorted({kind for row in summary["arms"] for kind in row["kinds"]})
    observed = any(row["observer"] is not None for row in summary["arms"])
    packed = any(row["kv_bits"] is not None for row in summary["arms"])
    header = ["method", "frames", "RoPE", "window", *(["KV bits"] if packed else [])]
    header += ["accuracy", *kinds, *(["perfect eyes"] if observed else [])]
    header += [f"over {summary['baseline']}", "over intp, same frames", "over fewer frames"]
    header += ["over 16 bits"] if packed else []
    lines = [header, ["---"] * len(header)]
    for row in summary["arms"]:
        cells = [
            row["method"],
            str(row["frames"]),
            row["rope"] or "",
            str(row["window"] or ""),
            *([str(row["kv_bits"] or "")] if packed else []),
            _interval(row["accuracy"]),
            *(
                _percent(row["kinds"][kind]["mean"]) if kind in row["kinds"] else ""
                for kind in kinds
            ),
        ]
        if observed:
            cells.append("" if row["observer"] is None else _percent(row["observer"]))
        differences = ["over_baseline", "over_intp", "over_fewer"]
        for name in differences + (["over_unpacked"] if packed else []):
            cells.append(_interval(row[name], signed=True) if name in row else "")
        lines.append(cells)
    said = [f"| {' | '.join(cells)} |" for cells in lines]
    notes = [
        f"{summary['questions']} questions about {summary['videos']} videos; per cent right, "
        "[95% interval]; differences are paired."
    ]
    if summary["guess"]:
        rates = ", ".join(f"{kind} {_percent(rate)}" for kind, rate in summary["guess"].items())
        notes.append(f"Guessing: {rates}.")
    if summary["failures"]:
        notes.append(f"{len(summary['failures'])} answers are missing, see summary.json.")
    used = {row["method"] for row in summary["arms"]}
    notes += [f"- {name}: {text}" for name, text in METHODS.items() if name in used]
    return "\n".join((*said, "", *notes)) + "\n"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(found: Mapping[str, float], signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (f"{100 * found[n]:{sign}.1f}" for n in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
