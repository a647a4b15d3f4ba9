"""The model that lmms-eval asks, with ``--model intp_video``."""

from __future__ import annotations

import os
from typing import Any

import torch
from lmms_eval.api.model import lmms
from tqdm import tqdm

from .arguments import typed
from .asking import Asked, Asker
from .lmms_requests import chat_question, rounds, simple_question


class IntpVideo(lmms):
    """Any supported family, with any number of frames and any option of ``extend``.

    Args:
        pretrained: a Hugging Face directory or hub id.
        batch_size: 1: questions are asked one by one; those about one video share its prefill.
        max_batch_size: not used, as lmms-eval hands it to every model.
        **given: see :func:`intp_video.evals.arguments.typed`: frames, rope, window, kv_bits,
            device, dtype, bad_videos, ...

    Raises:
        ModelError, TypeError, ValueError: no such model, or options that it cannot have.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **given: Any,
    ) -> None:
        super().__init__()
        if str(batch_size) != "1":
            raise ValueError(f"batch_size: expected 1, got {batch_size!r}")
        arguments = typed(given)
        name = arguments.pop("device", None) or _own_device()
        self.device = torch.device(name)
        self._asker = Asker(str(pretrained), device=name, **arguments)

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Greedy answers, in the order of the requests; asked video after video.

        Raises:
            VideoError: a question cannot be answered, unless ``bad_videos=wrong``.
            ValueError: a task asks about something else than one video, or not greedily.
        """
        asked = [self._question(request.args) for request in requests]
        with tqdm(total=len(asked), disable=self.rank != 0, desc="intp_video") as bar:
            return self._asker.ask(asked, lambda said: bar.update())

    def generate_until_multi_round(self, requests: list[Any]) -> list[list[str]]:
        """The answers of every round; a round knows what the task tells it of those before.

        Raises:
            VideoError, ValueError: see :meth:`generate_until`; a round without a video, too.
        """
        every = []
        for request in tqdm(requests, disable=self.rank != 0, desc="intp_video"):
            said: list[str] = []
            for asked in rounds(request.args, self.task_dict, said):
                said += self._asker.ask([asked])
            every.append(said)
        return every

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """The mean loss of each answer's tokens, and whether they are the greedy ones.

        A loss and no likelihood, as lmms-eval takes the smallest for the best. It asks this of
        classes with ``is_simple`` alone: with ``--force_simple``.

        Raises:
            VideoError, ValueError: see :meth:`generate_until`.
        """
        asked = [
            (simple_question(request.args, self.task_dict), request.args[1]) for request in requests
        ]
        return [(-total / count, greedy) for total, greedy, count in self._asker.score(asked)]

    def clean(self) -> None:
        self._asker.close()
        super().clean()

    def _question(self, arguments: tuple[Any, ...]) -> Asked:
        return chat_question(arguments, self.task_dict)


class IntpVideoSimple(IntpVideo):
    """The same for the tasks of ``--force_simple``, whose requests have another shape."""

    is_simple = True

    def generate_until_multi_round(self, requests: list[Any]) -> list[list[str]]:
        """Refused: without ``--force_simple`` they are answered.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("intp_video: run tasks of many rounds without --force_simple")

    def _question(self, arguments: tuple[Any, ...]) -> Asked:
        return simple_question(arguments, self.task_dict)


def _own_device() -> str:
    """Of several processes, each has a GPU of its own."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
