"""Text as it is decoded: in pieces that, joined, are the text of the whole answer."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import torch
from transformers.generation.streamers import BaseStreamer

from .preparation import Preparer

T = TypeVar("T")
Emit = Callable[[str], None]

_CUT = "\N{REPLACEMENT CHARACTER}"  # a character of which not all bytes have come


class TextPieces(BaseStreamer):
    """Takes the tokens of one answer from ``model.generate``, and hands on what they add.

    What a later token may still change is held back: space at the end, the first bytes of a
    character, and with a tokenizer that cleans up spaces the last word.

    Args:
        preparer: whose ``text_of`` the pieces make up.
        on_text: called once for each token, with a piece, which may be empty.
    """

    def __init__(self, preparer: Preparer, on_text: Emit) -> None:
        self._preparer, self._on_text = preparer, on_text
        self._whole_words = getattr(preparer.tokenizer, "clean_up_tokenization_spaces", False)
        self._ids: list[int] = []
        self._said = ""
        self._saw_prompt = False

    def put(self, value: torch.Tensor) -> None:
        if self._saw_prompt:
            self._ids += value.flatten().tolist()
        self._saw_prompt = True
        text = self._text().rstrip(_CUT)
        if self._whole_words:
            *_, last = text.split() or [""]
            text = text[: len(text) - len(last)]
        self._hand_on(text.rstrip())

    def end(self) -> None:
        self._hand_on(self._text())

    def _text(self) -> str:
        return self._preparer.text_of(torch.tensor(self._ids, dtype=torch.int64))

    def _hand_on(self, text: str) -> None:
        piece = text[len(self._said) :]
        self._said += piece
        self._on_text(piece)


class AnswerStream(Generic[T], Iterator[str]):
    """The pieces of an answer, decoded in a thread of their own from the first ``next`` on.

    Read it to its end, or close it: until then the model is in use. As a context manager it closes
    itself, and so it does where a loop over it ends early, by ``break`` or an exception, and
    nothing else refers to it; an interrupt while it waits for a piece closes it too.

    Args:
        work: called with a function that takes pieces; returns what :attr:`result` is.
        on_whole: called with that once its last piece has been read.
    """

    def __init__(
        self, work: Callable[[Emit], T], on_whole: Callable[[T], object] | None = None
    ) -> None:
        self._said: SimpleQueue[str | _Over] = SimpleQueue()
        self._closing = threading.Event()
        arguments = work, self._said, self._closing
        self._thread = threading.Thread(target=_run, args=arguments, daemon=True)
        self._on_whole = on_whole
        self._over: _Over | None = None
        # nobody will read on; at the end of Python too, which would cut a thread in a kernel short
        weakref.finalize(self, _stop, self._thread, self._closing)

    def __enter__(self) -> AnswerStream[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __next__(self) -> str:
        if self._over is not None:
            raise StopIteration
        if self._thread.ident is None:
            self._thread.start()
        try:
            said = self._said.get()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        if not isinstance(said, _Over):
            return said
        self._over = self._over or said
        self._thread.join()
        if self._over is not said:  # closed meanwhile
            raise StopIteration
        if said.error is not None:
            raise said.error
        if self._on_whole is not None:
            self._on_whole(said.result)
        raise StopIteration

    def close(self) -> None:
        """Stop at the next token; the model is free when this returns, unless a callback of the
        work itself calls it."""
        self._over = self._over or _Over()
        _stop(self._thread, self._closing)

    @property
    def closed(self) -> bool:
        """Whether nobody reads on, though work may be under way still."""
        return self._closing.is_set()

    @property
    def result(self) -> T:
        """What the call would have returned without ``stream``.

        Raises:
            RuntimeError: the last piece has not been read.
        """
        if self._over is None or not self._over.done:
            raise RuntimeError("the answer has no result before its last piece has been read")
        return self._over.result


@dataclass(frozen=True)
class _Over:
    """How an answer ended: done, with an error, or closed."""

    done: bool = False
    result: Any = None
    error: BaseException | None = None


class _ClosedError(Exception):
    """Ends a pass whose answer nobody reads."""


def _stop(thread: threading.Thread, closing: threading.Event) -> None:
    closing.set()
    if thread.ident is not None and thread is not threading.current_thread():
        thread.join()


def _run(work: Callable[[Emit], Any], said: SimpleQueue, closing: threading.Event) -> None:
    def emit(piece: str) -> None:
        if closing.is_set():
            raise _ClosedError
        if piece:
            said.put(piece)

    try:
        said.put(_Over(done=True, result=work(emit)))
    except BaseException as error:  # the reader's to raise
        said.put(_Over(error=error))
