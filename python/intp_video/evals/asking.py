"""Questions of a harness, in an order in which those about one video share its prefill."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..batch.answerer import VideoAnswerer
from ..errors import VideoError

log = logging.getLogger("intp_video")

BAD_VIDEOS = ("refuse", "wrong")


@dataclass(frozen=True)
class Asked:
    """One question of a harness.

    Attributes:
        video: a path.
        question: in words.
        max_new_tokens: the most tokens of the answer.
        until: texts before which the answer ends.
        start, end: seconds of the part of the video that is shown; None: of the whole.
    """

    video: str
    question: str
    max_new_tokens: int = 64
    until: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None

    @property
    def row(self) -> dict[str, Any]:
        """As :class:`VideoAnswerer` takes it."""
        return {
            "video": self.video,
            "question": self.question,
            "start": self.start,
            "end": self.end,
        }

    @property
    def place(self) -> tuple[str, ...]:
        """Questions of one place share a prefill. Text, so that what is no number sorts, too."""
        return self.video, f"{self.start or 0}", f"{self.end}"


class Asker:
    """A loaded model that answers what a harness asks.

    Args:
        model: a Hugging Face directory or hub id.
        bad_videos: what is done about a question that cannot be answered, such as one about a
            damaged file: "refuse" raises; "wrong" answers it with an empty text, and logs why.
        **given: of :class:`VideoAnswerer`.

    Raises:
        ModelError, TypeError, ValueError: no such model, or options that it cannot have.
    """

    def __init__(self, model: str, *, bad_videos: str = "refuse", **given: Any) -> None:
        if bad_videos not in BAD_VIDEOS:
            raise ValueError(
                f"bad_videos: expected one of {', '.join(BAD_VIDEOS)}, got {bad_videos!r}"
            )
        self.bad_videos = bad_videos
        self.answerer = VideoAnswerer(model, **given)
        self.answerer.load()

    def ask(
        self, questions: Sequence[Asked], on_answer: Callable[[str], object] | None = None
    ) -> list[str]:
        """The answers, in the order of the questions; they are asked video after video.

        Args:
            questions: about any videos, in any order.
            on_answer: called with each answer, as it comes.

        Raises:
            VideoError: a question cannot be answered, unless bad videos count as wrong.
        """
        said = [""] * len(questions)
        # a stable sort keeps the order of the questions about one video
        for number in sorted(range(len(questions)), key=lambda n: questions[n].place):
            said[number] = self._answer(questions[number])
            if on_answer is not None:
                on_answer(said[number])
        return said

    def score(self, asked: Sequence[tuple[Asked, str]]) -> list[tuple[float, bool, int]]:
        """How likely answers are, in the order of the questions: see :meth:`WatchedVideo.score`.

        A likelihood has no value that is wrong, so a bad video is refused whatever ``bad_videos``.

        Raises:
            VideoError, TypeError, ValueError: a question cannot be asked.
        """
        found = [(0.0, False, 0)] * len(asked)
        for number in sorted(range(len(asked)), key=lambda n: asked[n][0].place):
            question, answer = asked[number]
            found[number] = self.answerer.score(question.row, answer)
        return found

    def close(self) -> None:
        """Forget the model."""
        self.answerer.close()

    def _answer(self, asked: Asked) -> str:
        self.answerer.max_new_tokens = asked.max_new_tokens
        row: Mapping[str, Any] = self.answerer(asked.row)
        if row["error"] is not None:
            reason = f"{asked.video}: {asked.question!r}: {row['error']}"
            if self.bad_videos == "refuse":
                raise VideoError(f"{reason}; bad_videos=wrong counts such a question as wrong")
            log.error("counted as wrong: %s", reason)
            return ""
        if row["note"]:
            log.warning("%s: %s", asked.video, row["note"])
        return cut(row["prediction"], asked.until)


def cut(said: str, until: Sequence[str]) -> str:
    """What stands before the first of the texts that end an answer."""
    ends = [said.find(text) for text in until if text]
    return said[: min((end for end in ends if end >= 0), default=len(said))].strip()
