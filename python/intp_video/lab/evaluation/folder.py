"""A folder of results: one run at a time."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from ...records.files import locked

LOCK = ".lock"


def exclusive(directory: str | os.PathLike) -> AbstractContextManager[None]:
    """Nobody else writes into the folder meanwhile: no other process, no other thread.

    Args:
        directory: made if need be.

    Raises:
        ModelError: another run holds it.
        OSError: it cannot be written or locked.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    return locked(directory / LOCK, directory, "eval", "directory")
