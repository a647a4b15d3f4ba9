"""Whether a run may go on with what stands in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import ModelError
from ...records import settings as settings_of
from .predictions import Prediction
from .question_file import VideoQuestion

SETTINGS = "settings.json"


def check_settings(directory: Path, settings: dict[str, Any], answered: bool) -> None:
    """Answers to other questions, or of another model, must not be mixed with these.

    Args:
        directory: of the results; gets ``settings.json`` if it holds nothing yet.
        settings: everything that decides the answers; JSON.
        answered: it holds predictions.

    Raises:
        ModelError: what it holds was asked with other settings, or nobody knows with which.
    """
    settings_of.check_settings(
        directory / SETTINGS,
        settings,
        answered,
        what=directory,
        caller="eval",
        kind="directory",
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
