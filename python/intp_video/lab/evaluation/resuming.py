"""Whether a run may go on with what stands in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError
from .folder import write_whole
from .predictions import PREDICTIONS, Prediction
from .question_file import VideoQuestion

SETTINGS = "settings.json"


def check_settings(directory: Path, settings: dict, answered: bool) -> None:
    """Answers to other questions, or of another model, must not be mixed with these.

    Args:
        directory: of the results; gets ``settings.json`` if it holds nothing yet.
        settings: everything that decides the answers; JSON.
        answered: it holds predictions.

    Raises:
        ModelError: what it holds was asked with other settings, or nobody knows with which.
    """
    path = directory / SETTINGS
    wanted = json.dumps(settings, indent=2) + "\n"
    if path.exists():
        _compare(directory, _read_settings(path), json.loads(wanted))
    elif answered:
        raise ModelError(
            f"eval: {directory} holds {PREDICTIONS} without the {SETTINGS} that says whose answers "
            "they are; give another directory"
        )
    else:
        write_whole(path, wanted)


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ModelError(f"eval: {path} is damaged; give another directory")
    return found


def _compare(directory: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = sorted(k for k in found | wanted if found.get(k) != wanted.get(k))
    if different:
        raise ModelError(
            f"eval: {directory} holds the answers of another run (other {', '.join(different)}); "
            "give another directory"
        )


def check_videos(
    directory: Path,
    questions: Sequence[VideoQuestion],
    said: dict[tuple[str, str], Prediction],
    digest_of: Callable[[str], str | None],
) -> None:
    """A file that was answered about must be the same still, wherever it lies now. One that is gone
    is missed when it is needed.

    Raises:
        ModelError: a video is another one.
    """
    answered = {p.id: p.video for p in said.values() if p.said is not None and p.video}
    for question in questions:
        before = answered.get(question.id)
        now = digest_of(question.video) if before else None
        if now is not None and now != before:
            raise ModelError(
                f"eval: {directory} holds answers about another {Path(question.video).name} than "
                f"{question.video}; give another directory"
            )
