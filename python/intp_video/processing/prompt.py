"""A question about a video as the text a model was trained on, and that text as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..errors import ModelError

History = Sequence[tuple[str, str]]
"""Turns that are over: questions about a video, and what was answered."""


class PlainPrompt(NamedTuple):
    """The turns of a dialogue about a video, where no chat template writes them.

    Attributes:
        first: with ``{video}`` and ``{question}``.
        later: what follows an ``{answer}``, that included: the ``{end}`` of its turn and the next
            ``{question}``.
    """

    first: str
    later: str

    def of(self, video: str, question: str, history: History, end: str) -> str:
        questions = [*(asked for asked, _ in history), question]
        text = self.first.format(video=video, question=questions[0])
        for (_, answer), asked in zip(history, questions[1:], strict=True):
            text += self.later.format(answer=answer, end=end, question=asked)
        return text


VICUNA = PlainPrompt(
    "USER: {video}\n{question} ASSISTANT:", " {answer}{end}USER: {question} ASSISTANT:"
)
"""Vicuna v1, for checkpoints whose chat template is no part of them."""


def chat_prompt(tokenizer: Any, question: str, template: str | None, history: History = ()) -> str:
    """The turns of a user who shows a video and asks, by the chat template of a checkpoint.

    Args:
        template: of the checkpoint's processor; None: the tokenizer's own.
        history: the turns before this question; the video is in the first.

    Raises:
        ModelError: there is no template, or it fails.
    """
    if not has_template(tokenizer, template):
        raise ModelError(
            "the checkpoint has no chat template: expected chat_template.jinja or "
            "chat_template.json beside its tokenizer"
        )
    messages = []
    for asked, answer in history:
        messages += [_message("user", asked), _message("assistant", answer)]
    messages.append(_message("user", question))
    messages[0]["content"].insert(0, {"type": "video"})
    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
    except Exception as error:  # a template is a program
        raise ModelError(f"the checkpoint's chat template fails: {error}") from error


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def has_template(tokenizer: Any, template: str | None) -> bool:
    return (template or getattr(tokenizer, "chat_template", None)) is not None


def special_token(tokenizer: Any, name: str, default: str) -> str:
    """A special token by the name that the tokenizer may give it, such as ``video_token``."""
    return getattr(tokenizer, name, None) or default


def cut_at(prompt: str, marker: str) -> tuple[str, str]:
    """The text before and after the one place where a video goes.

    Raises:
        ModelError: the template wrote no such place, or several.
    """
    parts = prompt.split(marker)
    if len(parts) != 2:
        raise ModelError(
            f"the checkpoint's chat template: expected {marker!r} once for a video, got it "
            f"{len(parts) - 1} times; it may be a template for text alone"
        )
    return parts[0], parts[1]


def token_ids(tokenizer: Any, text: str, placeholder_id: int, runs: Sequence[int]) -> torch.Tensor:
    """The tokens of a text, int64 ``[1, S]``; its i-th placeholder becomes ``runs[i]`` of them.

    Equals tokens of the text with all placeholders written out, and is faster.

    Raises:
        ModelError: the tokenizer does not keep placeholders as they are.
    """
    begins = {"add_special_tokens": False} if _has_bos(tokenizer, text) else {}
    ids = tokenizer(text, return_tensors="pt", **begins).input_ids
    at = ids[0] == placeholder_id
    if int(at.sum()) != len(runs):
        raise ModelError(
            f"the tokenizer does not keep {tokenizer.convert_ids_to_tokens(placeholder_id)} as one "
            "token"
        )
    times = torch.ones_like(ids[0])
    times[at] = torch.tensor(runs, dtype=times.dtype)
    return ids.repeat_interleave(times, dim=1)


def _has_bos(tokenizer: Any, text: str) -> bool:
    """Templates that write the first token themselves want no second one."""
    bos = getattr(tokenizer, "bos_token", None)
    return bos is not None and text.startswith(bos)
