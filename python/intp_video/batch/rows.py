"""A row: a video, a question about it or several, and whatever else belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..video import Part

Row = dict[str, Any]

PART = ("start", "end", "fps")
"""Names of a row that say which part of its video is shown, and how densely."""

_CHOICE = "expected 'question', some text, or 'questions', a list of texts"


def video_of(row: Row, folder: str | os.PathLike | None) -> str:
    """The path of its video; a relative one starts from ``folder``.

    Raises:
        ValueError: there is none.
    """
    video = row.get("video")
    if not isinstance(video, str | os.PathLike) or not os.fspath(video):
        raise ValueError(f"expected 'video', a path, got {video!r}")
    path = str(os.fspath(video))  # an array has strings of its own
    return path if folder is None else os.path.join(folder, path)


def part_of(row: Row, fps: float | None) -> Part:
    """The part of the video that it asks about, at ``fps`` unless it has one of its own.

    Raises:
        TypeError, ValueError: see :meth:`Part.check`.
    """
    told = {name: row.get(name) for name in PART}
    part = Part(**{name: None if x is None or x != x else x for name, x in told.items()})  # NaN
    if part.fps is None:
        part = replace(part, fps=fps)
    part.check("batch")
    return part


def questions_of(row: Row) -> list[str]:
    """What it asks.

    Raises:
        ValueError: neither ``question`` nor ``questions``, or both, or no text.
    """
    one: Any = row.get("question")
    many: Any = row.get("questions")
    if (one is None) == (many is None):
        raise ValueError(f"{_CHOICE}, got {'neither' if one is None else 'both'}")
    if many is None:
        return [one]
    if isinstance(many, str) or (not isinstance(many, Sequence) and not hasattr(many, "tolist")):
        raise ValueError(f"{_CHOICE}, got {many!r}")
    if not len(many):
        raise ValueError(f"{_CHOICE}, got an empty list")
    return [*many]


def answered(row: Row, said: list[str], note: str | None) -> Row:
    """The row, and one text for ``question``, a list for ``questions``."""
    prediction = said if row.get("questions") is not None else said[0]
    return {**row, "prediction": prediction, "error": None, "note": note}


def failed(row: Row, error: str) -> Row:
    """The row, and why nothing was said."""
    return {**row, "prediction": None, "error": error, "note": None}


def is_columns(batch: Mapping[str, Any]) -> bool:
    """Whether it holds rows by column: a list, an array or the like for each name."""
    video = batch.get("video")
    return hasattr(video, "__len__") and not isinstance(video, str | bytes | os.PathLike)


def rows_of(columns: Mapping[str, Any]) -> Iterator[Row]:
    """Row after row.

    Raises:
        ValueError: columns of different lengths.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len({*lengths.values()}) > 1:
        raise ValueError(f"VideoAnswerer: batch: expected columns of one length, got {lengths}")
    for number in range(len(columns["video"])):
        yield {name: column[number] for name, column in columns.items()}


def to_columns(columns: Mapping[str, Any], rows: list[Row]) -> dict[str, Any]:
    """The columns as they were, and those that were added to their rows, as lists.

    A column has one type, whichever of its rows an engine looks at: no text is an empty one, not
    None, and an array of arrays becomes a list of lists.
    """
    found = {name: _unpacked(column) for name, column in columns.items()}
    found["prediction"] = [_prediction(row) for row in rows]
    for name in ("error", "note"):
        found[name] = [row[name] or "" for row in rows]
    return found


def _prediction(row: Row) -> str | list[str]:
    if row["prediction"] is not None:
        return row["prediction"]
    many = row.get("questions")
    return "" if many is None else [""] * max(1, len(many))


def _unpacked(column: Any) -> Any:
    if len(column) and getattr(column, "dtype", None) == "O" and hasattr(column[0], "tolist"):
        return [x if x is None else x.tolist() for x in column]
    return column
