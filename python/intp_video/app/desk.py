"""The one model, at which pages take turns."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import ModelError
from ..generation import StageClock, generate
from ..hook import check_extension
from ..preparation import Preparer
from ..quantized import states_of
from ..streaming import Emit, TextPieces
from ..watching import WatchedVideo
from .background import Background
from .exchange import Exchange, Side, Telling
from .showing import Choice, Shown

_PATIENCE = 0.2  # seconds between two looks at whether the page is still there


class Desk:
    """Answers questions about videos, one at a time; the last video stays encoded and prefilled.

    So memory is that of the model and of one video, however many pages there are. The stock model
    beside it is a second set of modules over the same weights.

    Args:
        model: not extended; it belongs to the desk until :meth:`close`.
        preparer: of the model.
        max_new_tokens: the most tokens of an answer.
        **options: of :func:`intp_video.extend` that no page chooses.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        preparer: Preparer,
        max_new_tokens: int = 64,
        **options: Any,
    ) -> None:
        self._model, self._preparer = model, preparer
        self._max_new_tokens, self._options = max_new_tokens, options
        self._stock = stock_twin(model)
        self._turn = threading.Lock()
        self._shown: Shown | None = None  # the video that is prefilled
        self._video: WatchedVideo | None = None
        self._running: set[Background[Exchange]] = set()

    def check(self, frames: int, choice: Choice) -> None:
        """Say what is wrong with a choice, before anything runs.

        Raises:
            ModelError, TypeError, ValueError: see :func:`intp_video.extend`.
        """
        check_extension(self._stock, frames, **self._options, **choice.options())

    def ask(self, shown: Shown, question: str, compare: bool = True) -> Iterator[Exchange]:
        """Both answers, as they come; closing the iteration ends the work.

        Args:
            shown: what the question is about.
            question: in words.
            compare: ask the stock model as well, at the frames it was trained on.

        Raises:
            ModelError, TypeError, ValueError: a bad question, or options that the model cannot
                have.
        """
        question = self._preparer.check_question(question, "ask")
        stock = Side(len(shown.short)) if compare else None
        begin = Exchange(question, Side(len(shown.clip), stage="begin"), stock)

        def work(tell: Callable[[Exchange], None]) -> None:
            telling = Telling(begin, tell)
            with self._turn_of(telling):
                self._ask_extended(shown, telling)
                if compare:
                    self._ask_stock(shown, telling)

        background = Background(work)
        self._running.add(background)
        try:
            yield begin
            yield from background
        finally:
            background.stop()
            self._running.discard(background)

    def close(self) -> None:
        """End what is under way, and restore the model."""
        for background in tuple(self._running):
            background.stop()
        with self._turn:
            self._forget()

    @contextmanager
    def _turn_of(self, telling: Telling) -> Iterator[None]:
        while not self._turn.acquire(timeout=_PATIENCE):
            telling.change("extended", stage="wait for another page")
        try:
            yield
        finally:
            self._turn.release()

    def _ask_extended(self, shown: Shown, telling: Telling) -> None:
        clock = StageClock(lambda name: telling.change("extended", stage=name, progress=(0, 0)))
        reused = shown is self._shown
        video = self._watch(shown, telling, clock)
        telling.change("extended", reused=reused and video.shares_prefill)
        clock.begin("read the question")
        looking = video.watch_attention() if video.shows_attention else nullcontext()
        take = self._taker("extended", telling, clock)
        question = telling.exchange.question
        with (
            looking as mass,
            video.ask(question, max_new_tokens=self._max_new_tokens, stream=True) as pieces,
        ):
            for piece in pieces:
                take(piece)
        text = pieces.result
        clock.end()
        looked = () if mass is None else tuple(mass.frames.tolist()[: len(shown.clip)])
        self._finish("extended", telling, text, clock, looked)

    def _watch(self, shown: Shown, telling: Telling, clock: StageClock) -> WatchedVideo:
        if self._shown is shown and self._video is not None:
            return self._video
        self._forget()  # before there is another one in memory

        def encoded(done: int, total: int) -> None:
            if "encode" not in clock.seconds:
                telling.change("extended", progress=(done, total))
                if done == total:
                    clock.begin("prefill")

        clock.begin("encode")
        self._video = WatchedVideo(
            self._model,
            self._preparer,
            shown.clip,
            on_encode=encoded,
            **self._options,
            **shown.choice.options(),
        )
        self._shown = shown
        return self._video

    @torch.no_grad()
    def _ask_stock(self, shown: Shown, telling: Telling) -> None:
        clock = StageClock(lambda name: telling.change("stock", stage=name))
        clock.begin("encode and prefill")
        inputs = self._preparer(shown.short, telling.exchange.question)
        streamer = TextPieces(self._preparer, self._taker("stock", telling, clock))
        ids = generate(self._stock, inputs, self._max_new_tokens, streamer=streamer)
        clock.end()
        self._finish("stock", telling, self._preparer.text_of(ids), clock)

    @staticmethod
    def _taker(side: str, telling: Telling, clock: StageClock) -> Emit:
        """What takes the pieces of an answer, of which the first ends the reading."""

        def take(piece: str) -> None:
            if "generate" not in begun:
                begun.add("generate")
                clock.begin("generate")
            text = getattr(telling.exchange, side).text + piece
            telling.change(side, text=text.lstrip(), seconds=dict(clock.seconds))

        begun: set[str] = set()
        return take

    @staticmethod
    def _finish(
        side: str, telling: Telling, text: str, clock: StageClock, looked: tuple[float, ...] = ()
    ) -> None:
        telling.change(
            side, text=text, stage="", seconds=dict(clock.seconds), looked=looked, done=True
        )

    def _forget(self) -> None:
        self._shown = None
        if self._video is not None:
            video, self._video = self._video, None
            video.close()


def stock_twin(model: PreTrainedModel) -> PreTrainedModel:
    """The same model a second time, over the same parameters and buffers: to be asked as it is
    while the first one is extended.

    Raises:
        ModelError: the model is extended already.
    """
    if getattr(model, "_intp_handle", None) is not None:
        raise ModelError("app: model: expected one that is not extended, got an extended one")
    shared = itertools.chain(model.parameters(), model.buffers(), states_of(model))
    return copy.deepcopy(model, {id(each): each for each in shared})
