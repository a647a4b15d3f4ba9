"""What was said, one JSON object a line, in a file that survives whatever ends a run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class Prediction:
    """What was said to one question in one arm, or why nothing was.

    Attributes:
        id, arm: of the question, of the arm.
        said: by the model.
        error: why nothing was said.
        video: digest of the file that was shown, see :func:`file_digest`.
    """

    id: str
    arm: str
    said: str | None
    error: str | None = None
    video: str | None = None


def read_predictions(directory: Path) -> dict[tuple[str, str], Prediction]:
    """By question and arm, the newest of each; a line that a crash has damaged is left out, so that
    its question is asked again."""
    path = directory / PREDICTIONS
    found: dict[tuple[str, str], Prediction] = {}
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        prediction = _parsed(line)
        if prediction is not None:
            found[prediction.id, prediction.arm] = prediction
    return found


def _parsed(line: bytes) -> Prediction | None:
    try:
        prediction = Prediction(**json.loads(line))
    except (ValueError, TypeError):
        return None
    wanted = isinstance(prediction.id, str) and isinstance(prediction.arm, str)
    return prediction if wanted and isinstance(prediction.said, str | None) else None


@contextmanager
def appended_predictions(directory: Path) -> Iterator[Callable[[Prediction], None]]:
    """A function that adds a line; it is with the system when the function returns."""
    with open(directory / PREDICTIONS, "ab") as file:
        if file.tell() and not _ends_a_line(file.name):
            file.write(b"\n")

        def keep(prediction: Prediction) -> None:
            file.write(json.dumps(asdict(prediction)).encode() + b"\n")
            file.flush()

        yield keep


def _ends_a_line(path: str) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
