"""Work in a thread, whose news can be followed, and which ends when nobody follows it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

News = TypeVar("News")


class Stopped(Exception):
    """Raised in the work where it next tells something, once nobody listens."""


class Background(Generic[News]):
    """Runs ``work(tell)`` in a thread; iterating gives what it tells, the newest if it is faster.

    Closing the iteration ends the work at its next news. What the work raises is raised there.

    Args:
        work: called with ``tell``.
    """

    def __init__(self, work: Callable[[Callable[[News], None]], None]) -> None:
        self._work = work
        self._news: queue.SimpleQueue[tuple[str, News | BaseException | None]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stop(self) -> None:
        """End the work at its next news."""
        self._stop.set()

    def __iter__(self) -> Iterator[News]:
        self._thread.start()
        try:
            while True:
                kind, news = self._newest()
                if kind == "end":
                    if news is not None:
                        assert isinstance(news, BaseException)
                        raise news
                    return
                yield news  # type: ignore[misc]
        finally:
            self.stop()

    def _newest(self) -> tuple[str, News | BaseException | None]:
        kind, news = self._news.get()
        while kind == "news" and not self._news.empty():
            following = self._news.get()
            if following[0] == "end":  # the last news comes before the end
                self._news.put(following)
                break
            kind, news = following
        return kind, news

    def _run(self) -> None:
        try:
            self._work(self._tell)
        except Stopped:
            self._news.put(("end", None))
        except BaseException as error:
            self._news.put(("end", error))
        else:
            self._news.put(("end", None))

    def _tell(self, news: News) -> None:
        if self._stop.is_set():
            raise Stopped
        self._news.put(("news", news))
