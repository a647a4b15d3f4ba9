"""Writing a task: a YAML file and the lines that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...records.files import write_whole
from ..evaluation.question_file import VideoQuestion
from ..evaluation.run import prompt_of
from . import lines


def write_task(
    folder: str | Path,
    name: str,
    questions: Sequence[VideoQuestion],
    *,
    show_options: bool = False,
    max_new_tokens: int = 16,
) -> Path:
    """Writes ``NAME.yaml`` and ``NAME.jsonl``, for ``--include_path FOLDER --tasks NAME``.

    Both name files by their whole path: after a move, write the task again.

    Args:
        folder: made if need be.
        name: of the task: letters, digits and "_".
        questions: about any videos.
        show_options, max_new_tokens: as of :func:`intp_video.lab.evaluation.evaluate`.

    Returns:
        The path of the YAML file.

    Raises:
        ValueError: another name, or no question.
        OSError: the folder cannot be written.
    """
    if not re.fullmatch(r"\w+", name, re.ASCII):
        raise ValueError(f"lmms_task: name: expected letters, digits and _, got {name!r}")
    if not questions:
        raise ValueError("lmms_task: questions: expected at least one, got none")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / f"{name}.jsonl"
    told = [_line(question, show_options) for question in questions]
    write_whole(data, "".join(json.dumps(line) + "\n" for line in told))
    kinds = sorted({question.kind for question in questions if question.kind})
    path = folder / f"{name}.yaml"
    write_whole(path, _yaml(name, data, kinds, max_new_tokens))
    return path


def _line(question: VideoQuestion, show_options: bool) -> dict[str, Any]:
    return {
        "id": question.id,
        "video": str(Path(question.video).resolve()),
        "question": prompt_of(question, show_options),
        "answer": question.answer,
        "options": list(question.options),
        "kind": question.kind,
    }


def _yaml(name: str, data: Path, kinds: Sequence[str], max_new_tokens: int) -> str:
    """JSON is YAML, but for the tag ``!function``."""
    functions = {
        key: f"!function {lines.__name__}.{key}"
        for key in ("doc_to_visual", "doc_to_text", "process_results")
    }
    metrics = ["accuracy", *(lines.KIND + kind for kind in kinds)]
    values: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"max_new_tokens": max_new_tokens, "do_sample": False, "until": []},
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in metrics
        ],
        "metadata": {"version": 1},
    }
    text = [f"{key}: {json.dumps(value)}\n" for key, value in values.items()]
    text += [f"{key}: {value}\n" for key, value in functions.items()]
    return "".join(text)
