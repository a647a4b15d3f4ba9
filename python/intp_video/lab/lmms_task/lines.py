"""What the task does with a line: the names that its YAML gives to lmms-eval."""

from __future__ import annotations

from typing import Any

from ..evaluation.scoring import is_right

KIND = "accuracy_"  # and the kind: the metric over the questions of one kind

Line = dict[str, Any]


def doc_to_visual(line: Line) -> list[str]:
    return [line["video"]]


def doc_to_text(line: Line, lmms_eval_specific_kwargs: Any = None) -> str:
    return line["question"]


def process_results(line: Line, results: list[str]) -> dict[str, float]:
    """Whether the answer is right, for all questions and for those of its kind."""
    right = float(is_right(results[0], line["answer"], line["options"]))
    scores = {"accuracy": right}
    if line["kind"]:
        scores[KIND + line["kind"]] = right
    return scores
