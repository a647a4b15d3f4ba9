"""Rows in one file, and what was said to them in another, which survives whatever ends a run."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..records.digests import json_digest
from ..records.files import locked, write_parts
from ..records.lines import appended_lines, line_of, read_lines
from ..records.settings import check_settings
from .pool import Pool
from .rows import PART, Row
from .worker import Work

_MOST = 64  # rows about one video that one worker gets at once
_DEEPEST = 100  # lists and objects in each other; pickle, which takes rows to workers, ends at 500


@dataclass(frozen=True)
class Counts:
    """Rows of a file: all, those with a line in the output, and those whose line is an error."""

    rows: int
    done: int
    errors: int


def check_rows(source: Path) -> dict[Any, str]:
    """A digest of what each row asks, by its id.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file; or a line is no row, or has the id of another, and the
            message has its number.
    """
    _check_kind(source)
    found: dict[Any, str] = {}
    for number, row in _numbered(source):
        if row["id"] in found:
            raise ValueError(f"{source}: line {number}: id {row['id']!r} stands in an earlier line")
        found[row["id"]] = _asked(row)
    if not found:
        raise ValueError(f"{source}: no row in it")
    return found


def read_rows(source: Path, left_out: set[Any]) -> Iterator[Row]:
    """The rows of a file that :func:`check_rows` has read, but those with these ids."""
    for _, row in _numbered(source):
        if row["id"] not in left_out:
            yield row


def _check_kind(path: Path) -> None:
    """A pipe gives its lines once, a device no end of them."""
    if path.exists() and not path.is_file():
        raise ValueError(
            f"batch: {path}: expected a regular file, which can be read again: both files are read "
            "more than once"
        )


def _numbered(source: Path) -> Iterator[tuple[int, Row]]:
    """Rows, and the numbers of their lines, which are the ids of those that have none."""
    with open(source, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise ValueError(f"{source}: expected UTF-8 text: {error}") from None
            except ValueError as error:
                raise ValueError(f"{source}: line {number}: not JSON: {error}") from None
            except RecursionError:
                raise _too_deep(source, number) from None
            if _is_deeper(row, _DEEPEST):
                raise _too_deep(source, number)
            if not isinstance(row, dict):
                told = type(row).__name__
                raise ValueError(f"{source}: line {number}: expected an object, got {told}")
            row.setdefault("id", number)
            if isinstance(row["id"], bool) or not isinstance(row["id"], int | str):
                raise ValueError(
                    f"{source}: line {number}: id: expected text or a whole number, got "
                    f"{row['id']!r}"
                )
            yield number, row


def _too_deep(source: Path, number: int) -> ValueError:
    expected = f"expected at most {_DEEPEST} lists and objects in each other, got more"
    return ValueError(f"{source}: line {number}: {expected}")


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in inner)


def _asked(row: Row) -> str:
    return json_digest([row.get(name) for name in ("video", "question", "questions", *PART)])


def answer_file(
    source: Path,
    out: Path,
    work: list[Work],
    settings: dict[str, Any],
    *,
    retry_errors: bool = False,
    stop: int | None = None,
    progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Answers the rows of a file that have no line in ``out`` yet, and appends theirs.

    Beside ``out`` it keeps ``NAME.settings.json``. Every line is whole and on the disk before the
    next one; a row whose line a crash has damaged is answered again.

    Args:
        source: JSON lines.
        out: JSON lines, in the order in which rows are answered.
        work: one for each worker.
        settings: everything that decides the answers; JSON, without paths.
        retry_errors: answer rows again whose line is an error; that line goes.
        stop: a file descriptor; once it can be read, nothing more is begun.
        progress: called after each line.

    Returns:
        What there is in the end; fewer done than rows if it was stopped.

    Raises:
        ValueError: a line of ``source`` is no row, or one of the two is no regular file.
        ModelError: ``out`` holds the answers of another run, or to other questions under the same
            ids, or another run is writing to it; or no row can be answered.
        OSError: a file cannot be read or written.
    """
    _check_kind(out)
    asked = check_rows(source)
    if out.exists() and os.path.samefile(source, out):
        raise ValueError(f"batch: {out} is the file of the questions; give another file")
    with locked(out.with_name(f".{out.name}.lock"), out, "batch", "file"):
        begun = out.exists() and out.stat().st_size > 0
        kept = out.with_name(f"{out.name}.settings.json")
        if not begun:
            kept.unlink(missing_ok=True)  # of a run that has said nothing
        check_settings(kept, settings, begun, what=out, caller="batch", kind="file")
        done = _earlier(out, asked, retry_errors)
        counts = Counts(len(asked), len(done), sum(done.values()))
        if progress is not None:
            progress(counts)
        if counts.done == counts.rows:
            return counts
        work = work[: counts.rows - counts.done]  # no worker without a row
        with appended_lines(out) as append, Pool(work) as pool:
            for row in pool.answers(_jobs(source, {*done}), stop):
                append(row)
                failed = row["error"] is not None
                counts = Counts(counts.rows, counts.done + 1, counts.errors + failed)
                if progress is not None:
                    progress(counts)
    return counts


def _earlier(out: Path, asked: dict[Any, str], retry_errors: bool) -> dict[Any, bool]:
    """By id, whether the row that is answered already has an error. Lines that are to be written
    again are gone afterward."""
    again = {*asked} if retry_errors else set()
    found: dict[Any, bool] = {}
    gone = False
    for row in read_lines(out):
        if _is_gone(row, again):
            gone = True
            continue
        name = row["id"]
        if name not in asked:  # of another file with questions
            continue
        if asked[name] != _asked(row):
            raise ModelError(
                f"batch: {out} has asked something else, or about another video, under the id "
                f"{name!r}; give another file"
            )
        found[name] = row.get("error") is not None
    if gone:
        left = (line_of(row) for row in read_lines(out) if not _is_gone(row, again))
        write_parts(out, left)
    return found


def _is_gone(row: Any, again: set[Any]) -> bool:
    """Whether a crash has damaged the line, or its error is to be tried again."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), int | str):
        return True
    return row.get("error") is not None and row["id"] in again


def _jobs(source: Path, left_out: set[Any]) -> Iterator[list[Row]]:
    """Rows in a row about one part of a video, which a worker encodes and prefills once."""
    rows = read_rows(source, left_out)
    for _, group in itertools.groupby(rows, key=lambda row: [row.get(x) for x in ("video", *PART)]):
        while job := [*itertools.islice(group, _MOST)]:
            yield job
