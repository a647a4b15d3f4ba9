"""JSON lines in a file that only grows: a line is whole and on the disk, or its work is undone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .files import sync_folder


def read_lines(path: Path) -> Iterator[Any]:
    """What each line holds, in order; None for one that is no JSON, as a crash may leave it. A
    line may hold null as well. Empty lines, and a file that is not there, hold nothing."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except ValueError:
                yield None


@contextmanager
def appended_lines(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that adds a line; it is on the disk when the function returns.

    A line that a crash has left unfinished is ended first, so that it costs itself alone.

    Raises:
        OSError: it cannot be opened or, by the function, written.
    """
    with open(path, "ab", buffering=0) as file:
        sync_folder(path)
        if file.tell() and not _ends_a_line(path):
            file.write(b"\n")

        def append(values: Any) -> None:
            try:
                _write_all(file.fileno(), line_of(values))
                os.fsync(file.fileno())
            except OSError as error:
                raise OSError(f"cannot write {str(path)!r}: {error.strerror}") from error

        yield append


def line_of(values: Any) -> bytes:
    """One line of JSON, in ASCII: nothing in it can be taken for the end of a line."""
    return json.dumps(values).encode() + b"\n"


def _write_all(file: int, data: bytes) -> None:
    while data:  # a write may be cut short by a signal, or by the last free block
        data = data[os.write(file, data) :]


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
