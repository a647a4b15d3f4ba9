"""What a process does that answers the rows it is sent.

It speaks over a connection that it inherits, and ends with the process that started it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answerer import VideoAnswerer


@dataclass(frozen=True)
class Work:
    """What a worker is sent first.

    Attributes:
        answerer: of rows.
        threads: of torch; None: as many as it likes.
        prepare: called before anything else.
    """

    answerer: VideoAnswerer
    threads: int | None = None
    prepare: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True)
class Refused:
    """No row can be answered, and why."""

    reason: str


def serve(connection: Connection) -> None:
    """Sends :class:`Ready`, then each row of each list that comes as it is answered; ends when the
    other side closes, or with :class:`Refused`."""
    from ..errors import ModelError

    try:
        work: Work = connection.recv()
        if work.prepare is not None:
            work.prepare()
        if work.threads is not None:
            import torch

            torch.set_num_threads(work.threads)
        try:
            work.answerer.load()
            connection.send(Ready())
            while True:
                for row in connection.recv():
                    connection.send(work.answerer(row))
        except (ModelError, TypeError, ValueError) as error:
            connection.send(Refused(" ".join(str(error).split())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody waits for an answer any more


def _end_with(parent: int) -> None:
    """In the middle of a row too: nobody else would ever end it."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(descriptor: int) -> None:
    """Serves the connection of this number."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    serve(Connection(descriptor))
