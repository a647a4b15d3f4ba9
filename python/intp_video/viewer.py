"""Somebody who has seen a video and answers questions about it."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, overload

from .errors import ModelError
from .preparation import Preparer
from .processing.prompt import History
from .sampling import check_frames
from .streaming import AnswerStream, Emit


class Viewer(ABC):
    """Questions by themselves (:meth:`ask`), or in turns (:meth:`chat`); greedy answers.

    The video's part of the prompt stays cached. Everything behind it is forgotten, exactly, after
    each answer: a later turn puts the text of the earlier ones there again, which is short beside a
    video, and no frame is encoded or prefilled twice.

    Attributes:
        turns: of the conversation: (question, answer) of each.
    """

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer
        self._turns: list[tuple[str, str]] = []
        self._busy = threading.Lock()
        self._known: list[weakref.ref[AnswerStream[str]]] = []

    @property
    def turns(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._turns)

    def forget(self) -> None:
        """Begin a new conversation about the same video."""
        self._turns.clear()

    @overload
    def ask(
        self, question: str, *, max_new_tokens: int = 64, stream: Literal[False] = False
    ) -> str: ...
    @overload
    def ask(
        self, question: str, *, max_new_tokens: int = 64, stream: Literal[True]
    ) -> AnswerStream[str]: ...
    def ask(
        self, question: str, *, max_new_tokens: int = 64, stream: bool = False
    ) -> str | AnswerStream[str]:
        """The answer to a question about the video, whatever was said before.

        Args:
            max_new_tokens: the most tokens of the answer.
            stream: return an iterator over the pieces of the answer, as they are decoded.

        Raises:
            TypeError, ValueError: a bad question, see :meth:`Preparer.check_question`, or a number
                of tokens out of range.
            ValueError: no frames yet.
            ModelError: it is closed, or an answer is still being decoded.
        """
        question = self._check_asked(question, max_new_tokens, "ask")

        def work(emit: Emit | None) -> str:
            with self._alone("ask"):
                return self._answer(question, (), max_new_tokens, emit)

        return self._stream(work) if stream else work(None)

    @overload
    def chat(
        self, question: str, *, max_new_tokens: int = 64, stream: Literal[False] = False
    ) -> str: ...
    @overload
    def chat(
        self, question: str, *, max_new_tokens: int = 64, stream: Literal[True]
    ) -> AnswerStream[str]: ...
    def chat(
        self, question: str, *, max_new_tokens: int = 64, stream: bool = False
    ) -> str | AnswerStream[str]:
        """The next turn of a conversation: the model sees the turns before, and this one is kept
        once its answer is whole; of a stream, once that has been read to its end.

        Args, Raises: see :meth:`ask`.
        """
        question = self._check_asked(question, max_new_tokens, "chat")

        def work(emit: Emit | None) -> str:
            with self._alone("chat"):
                return self._answer(question, self.turns, max_new_tokens, emit)

        def keep(answer: str) -> None:
            self._turns.append((question, answer))

        if stream:
            return self._stream(work, keep)
        answer = work(None)
        keep(answer)
        return answer

    # ---- what it is, and does ----

    @abstractmethod
    def _check_ready(self, method: str) -> None:
        """Raises a ModelError if it is closed, a ValueError if it has seen nothing to ask about."""

    @abstractmethod
    def _answer(
        self, question: str, history: History, max_new_tokens: int, on_text: Emit | None
    ) -> str:
        """The greedy answer behind these turns, in pieces too."""

    @contextmanager
    def _alone(self, method: str) -> Iterator[None]:
        """Nothing else reads or writes the cache meanwhile. What nobody reads on ends before."""
        self._stop_streaming(closed_alone=True)
        if not self._busy.acquire(blocking=False):
            raise ModelError(
                f"{type(self).__name__}.{method}: an answer is still being decoded; read it to its "
                "end, or close() it"
            )
        try:
            yield
        finally:
            self._busy.release()

    def _stop_streaming(self, *, closed_alone: bool = False) -> None:
        for stream in self._streams():
            if stream.closed or not closed_alone:
                stream.close()

    def _streams(self) -> list[AnswerStream[str]]:
        """Those that somebody still has; others have ended."""
        return [stream for known in self._known if (stream := known()) is not None]

    def _stream(
        self, work: Callable[[Emit], str], on_whole: Callable[[str], object] | None = None
    ) -> AnswerStream[str]:
        stream = AnswerStream(work, on_whole)
        self._known = [weakref.ref(known) for known in (*self._streams(), stream)]
        return stream

    def _check_asked(self, question: str, max_new_tokens: int, method: str) -> str:
        caller = f"{type(self).__name__}.{method}"
        question = self._preparer.check_question(question, caller)
        self._check_ready(method)
        check_frames(max_new_tokens, function=caller, name="max_new_tokens")
        return question
