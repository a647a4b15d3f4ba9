"""Greedy answers, and the time of each stage on the way to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)


def generate(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    max_new_tokens: int,
    on_token: Callable[[int], None] | None = None,
    **more: Any,
) -> torch.Tensor:
    """The model's greedy answer to its prompt.

    Args:
        model: a Video-LLM, extended or not.
        inputs: as :func:`intp_video.prepare` makes them, of one prompt; they go to the model's
            device, and pixels into its dtype.
        max_new_tokens: the most tokens of the answer.
        on_token: called with the number of tokens so far.
        **more: arguments of ``model.generate``.

    Returns:
        int64 ``[T]``: the tokens of the answer.
    """
    moved = {
        name: x.to(model.device, model.dtype if name.startswith("pixel_values") else None)
        for name, x in inputs.items()
    }
    prompt = moved["input_ids"].shape[1]
    if on_token is not None:
        more["stopping_criteria"] = StoppingCriteriaList([_Count(prompt, on_token)])
    ids = model.generate(**moved, max_new_tokens=max_new_tokens, do_sample=False, **more)
    return ids[0, prompt:]


class _Count(StoppingCriteria):
    """Never stops generation; reports the number of tokens."""

    def __init__(self, prompt_tokens: int, on_token: Callable[[int], None]) -> None:
        self.prompt_tokens, self.on_token = prompt_tokens, on_token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.on_token(input_ids.shape[1] - self.prompt_tokens)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class Scoring(LogitsProcessor):
    """Makes generation write given tokens, and adds up how likely they were.

    Attributes:
        log_likelihood: of the tokens that were written so far, in nats.
        is_greedy: whether each of them was the likeliest.
    """

    def __init__(self, ids: torch.Tensor) -> None:
        self._left = ids.tolist()
        self.log_likelihood = 0.0
        self.is_greedy = True

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        wanted = self._left.pop(0)
        self.log_likelihood += scores[0].float().log_softmax(-1)[wanted].item()
        self.is_greedy &= int(scores[0].argmax()) == wanted
        forced = torch.full_like(scores, -torch.inf)
        forced[0, wanted] = 0
        return forced


class StageClock:
    """Seconds between one ``begin`` and the next; on a GPU it waits for the stage's work.

    Attributes:
        seconds: of each stage that has ended.
    """

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self._on_stage = on_stage
        self._current: str | None = None
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        self.end()
        self._current = name
        if self._on_stage is not None:
            self._on_stage(name)
        self._since = time.perf_counter()

    def end(self) -> None:
        if self._current is None:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[self._current] = time.perf_counter() - self._since
        self._current = None
