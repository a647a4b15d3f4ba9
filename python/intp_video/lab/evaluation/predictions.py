"""What was said, one JSON object a line, in a file that survives whatever ends a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...records.lines import appended_lines, read_lines

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
    found: dict[tuple[str, str], Prediction] = {}
    for values in read_lines(directory / PREDICTIONS):
        prediction = _parsed(values)
        if prediction is not None:
            found[prediction.id, prediction.arm] = prediction
    return found


def _parsed(values: Any) -> Prediction | None:
    try:
        prediction = Prediction(**values)
    except TypeError:
        return None
    wanted = isinstance(prediction.id, str) and isinstance(prediction.arm, str)
    return prediction if wanted and isinstance(prediction.said, str | None) else None


@contextmanager
def appended_predictions(directory: Path) -> Iterator[Callable[[Prediction], None]]:
    """A function that adds a line; it is on the disk when the function returns."""
    with appended_lines(directory / PREDICTIONS) as append:
        yield lambda prediction: append(asdict(prediction))
