"""A folder of results: one run at a time, and files that are whole whenever somebody looks."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ...errors import ModelError

LOCK = ".lock"

# Folders that this thread holds: evaluate() runs inside of a command that holds its folder longer.
_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextmanager
def exclusive(directory: str | os.PathLike) -> Iterator[None]:
    """Nobody else writes into the folder meanwhile: no other process, no other thread.

    The system takes the lock from a process that dies, so that none is ever left behind.

    Args:
        directory: made if need be.

    Raises:
        ModelError: another run holds it.
        OSError: it cannot be written or locked.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    name = os.path.realpath(directory)
    if name in _held.get():
        yield
        return
    with open(directory / LOCK, "a+", encoding="utf-8") as file:
        _lock(file, directory)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        token = _held.set(_held.get() | {name})
        try:
            yield
        finally:
            _held.reset(token)


def _lock(file, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise ModelError(
            f"eval: {directory} is in use by another run ({holder}); wait until it has ended, or "
            "give another directory"
        ) from None
    except OSError as error:
        raise OSError(
            f"eval: {directory} cannot be locked: {error.strerror}; give a directory on a local "
            "disk"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """The file as it was or as it will be, and nothing between, whenever the process dies."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
