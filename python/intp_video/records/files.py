"""Files that are whole whenever somebody looks, and that one run at a time writes."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ..errors import ModelError

# Locks that this thread holds: evaluate() runs inside of a command that holds its folder longer.
_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())


@contextmanager
def locked(lock: Path, what: Path, caller: str, kind: str) -> Iterator[None]:
    """Nobody else writes meanwhile: no other process, no other thread.

    The system takes the lock from a process that dies, so that none is ever left behind.

    Args:
        lock: a file for this alone; made if need be.
        what: is written, as messages name it.
        caller: whom messages name.
        kind: what that is, "directory" or "file".

    Raises:
        ModelError: another run holds it.
        OSError: it cannot be written or locked.
    """
    name = os.path.realpath(lock)
    if name in _held.get():
        yield
        return
    with open(lock, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise ModelError(
                f"{caller}: {what} is in use by another run ({holder}); wait until it has ended, "
                f"or give another {kind}"
            ) from None
        except OSError as error:
            raise OSError(
                f"{caller}: {what} cannot be locked: {error.strerror}; give a {kind} on a local "
                "disk"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        token = _held.set(_held.get() | {name})
        try:
            yield
        finally:
            _held.reset(token)


def write_whole(path: Path, text: str) -> None:
    """The file as it was or as it will be, and nothing between, whenever the process dies."""
    write_parts(path, [text.encode()])


def write_parts(path: Path, parts: Iterable[bytes]) -> None:
    """The same, of a file that is made part by part."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with open(draft, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """The name of a new file is on the disk, as its contents are by ``fsync``."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
