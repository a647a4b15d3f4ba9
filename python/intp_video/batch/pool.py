"""Processes that answer rows, each with a model of its own; one that dies is started again."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

from ..errors import ModelError
from .rows import Row, failed
from .worker import Ready, Refused, Work

_TRIES = 2  # of a row whose worker dies, and of a worker that dies before it has a row
_PROGRAM = "import sys; sys.path[:] = {}; from intp_video.batch.worker import main; main({})"
_PATIENCE = 10  # seconds for a process that has nothing to do any more


class _Worker:
    """One process, and the rows that it has been sent and has not answered.

    It is in a session of its own: Ctrl-C in a terminal is for the process that started it, which
    decides what becomes of this one.
    """

    def __init__(self, work: Work) -> None:
        self.connection, theirs = Pipe()
        number = theirs.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(sys.path, number)],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.rows: deque[Row] = deque()
        self.ready = False
        self.send(work)

    def send(self, what: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # receive() says so
            self.connection.send(what)

    def receive(self) -> Any:
        """What it says, or None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def end(self, *, at_once: bool) -> str:
        """Waits for its end, and says how it ended."""
        self.connection.close()
        if at_once:
            self.process.kill()
        try:
            code = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if code == -signal.SIGKILL:
            return "killed by SIGKILL (often: out of memory)"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Pool:
    """Some workers, for as long as the block lasts.

    Args:
        work: for each worker; it loads a model of its own.

    Example::

        with Pool([Work(answerer)] * 2) as pool:
            for row in pool.answers(lists_of_rows):
                ...
    """

    def __init__(self, work: list[Work]) -> None:
        self._work = work
        self._workers: list[_Worker] = []
        self._lost_starts = 0  # since one was ready
        self._deaths: Counter[Any] = Counter()  # by id of the row that was being answered
        self._again: deque[list[Row]] = deque()  # of workers that died

    def __enter__(self) -> Pool:
        self._workers = [_Worker(work) for work in self._work]
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        for worker in self._workers:
            worker.end(at_once=True)

    def answers(self, jobs: Iterable[list[Row]], stop: int | None = None) -> Iterator[Row]:
        """Every row as it is answered, in any order.

        Args:
            jobs: lists of rows with ids of their own; the rows of a list are answered by one worker
                in a row. They are taken when a worker is free.
            stop: a file descriptor; once it can be read, what has been answered comes, and nothing
                else.

        Raises:
            ModelError: no row can be answered, or workers die before they can begin.
        """
        waiting = iter(jobs)
        more = True
        while True:
            for worker in self._workers:
                if more and worker.ready and not worker.rows:
                    more = self._hand_out(worker, waiting)
            if not more and not any(worker.rows for worker in self._workers):
                return
            watched = {x.connection: x for x in self._workers if x.rows or not x.ready}
            heard = wait([*watched, *([] if stop is None else [stop])])
            for connection, worker in watched.items():
                if connection in heard:
                    yield from self._hear(worker)
            more = more or bool(self._again)
            if stop in heard:
                return

    def _hand_out(self, worker: _Worker, waiting: Iterator[list[Row]]) -> bool:
        """Whether there was something to do."""
        job = self._again.popleft() if self._again else next(waiting, None)
        if job is None:
            return False
        worker.rows.extend(job)
        worker.send(job)
        return True

    def _hear(self, worker: _Worker) -> Iterator[Row]:
        """All that a worker has said."""
        while worker.connection.poll():
            said = worker.receive()
            if said is None:
                yield from self._replace(worker)
                return
            if isinstance(said, Refused):
                raise ModelError(said.reason)
            if isinstance(said, Ready):
                worker.ready, self._lost_starts = True, 0
            else:
                worker.rows.popleft()
                yield said

    def _replace(self, worker: _Worker) -> Iterator[Row]:
        """A new worker for one that died, and its row if that is to blame."""
        how = worker.end(at_once=False)
        if not worker.ready:
            self._lost_starts += 1
            if self._lost_starts == _TRIES:
                raise ModelError(f"batch: a worker died while it loaded the model: {how}")
        rows = worker.rows
        if rows:
            self._deaths[rows[0]["id"]] += 1
            if self._deaths[rows[0]["id"]] == _TRIES:
                yield failed(rows.popleft(), f"its worker died, and so did the next one: {how}")
        if rows:
            self._again.append([*rows])
        place = self._workers.index(worker)
        self._workers[place] = _Worker(self._work[place])
