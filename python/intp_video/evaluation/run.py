"""Asking every question in every arm, and keeping what was said whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError, VideoError
from ..preparation import Preparer
from ..video import Clip, read_video
from .arms import Arm
from .question_file import VideoQuestion

PREDICTIONS, SETTINGS = "predictions.jsonl", "settings.json"


@dataclass(frozen=True)
class Prediction:
    """What was said to one question in one arm, or why nothing was."""

    id: str
    arm: str
    said: str | None
    error: str | None = None


def evaluate(
    model: nn.Module,
    preparer: Preparer,
    questions: Sequence[VideoQuestion],
    arms: Sequence[Arm],
    directory: str | os.PathLike,
    *,
    settings: dict[str, Any] | None = None,
    max_new_tokens: int = 16,
    show_options: bool = False,
    backend: str = "auto",
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Prediction]:
    """Asks, greedily, and appends every answer to ``predictions.jsonl`` as it comes.

    What stands there already, from an interrupted run, is not asked again, except what failed.
    A video that cannot be read costs its own questions and nothing else.

    Args:
        model, preparer: from :func:`intp_video.load`.
        questions: about any videos, in any order.
        arms: see :func:`arms_of`.
        directory: made if need be.
        settings: whatever else decides the answers (model, dtype, ...); kept in ``settings.json``
            beside a digest of the questions.
        max_new_tokens: of an answer.
        show_options: put the options into the prompt, as "A. ...".
        backend: video decoder.
        progress: called with (done, in all, what comes next).

    Returns:
        All predictions, of this run and the ones before.

    Raises:
        ModelError: the directory holds answers to other questions or with other settings.
        OSError: it cannot be written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    told = {"max_new_tokens": max_new_tokens, "show_options": show_options}
    _check_settings(directory / SETTINGS, questions, (settings or {}) | told)
    said = read_predictions(directory)
    total, done = len(questions) * len(arms), 0
    by_video = sorted(questions, key=lambda question: question.video)
    with open(directory / PREDICTIONS, "a", encoding="utf-8") as file:

        def keep(prediction: Prediction) -> None:
            said[prediction.id, prediction.arm] = prediction
            file.write(json.dumps(asdict(prediction)) + "\n")
            file.flush()

        for video, group in groupby(by_video, key=lambda question: question.video):
            asked = list(group)
            clips: dict[int, Clip | VideoError] = {}
            for arm in arms:
                todo = [q for q in asked if _open(said.get((q.id, arm.name)))]
                done += len(asked) - len(todo)
                if not todo:
                    continue
                if progress is not None:
                    progress(done, total, f"{Path(video).name} {arm.name}")
                if arm.frames not in clips:
                    try:
                        clips[arm.frames] = read_video(video, arm.frames, backend)
                    except VideoError as error:
                        clips[arm.frames] = error
                clip = clips[arm.frames]
                if isinstance(clip, VideoError):
                    for question in todo:
                        keep(Prediction(question.id, arm.name, None, str(clip)))
                else:
                    for answer in ask_all(model, preparer, clip, todo, arm, **told):
                        keep(answer)
                done += len(todo)
    if progress is not None:
        progress(total, total, "")
    wanted = {(q.id, arm.name) for q in questions for arm in arms}
    return [prediction for key, prediction in said.items() if key in wanted]


def _open(prediction: Prediction | None) -> bool:
    return prediction is None or prediction.said is None


@torch.no_grad()
def ask_all(
    model: nn.Module,
    preparer: Preparer,
    clip: Clip,
    questions: Sequence[VideoQuestion],
    arm: Arm,
    max_new_tokens: int,
    show_options: bool,
) -> list[Prediction]:
    """One clip of ``arm.frames`` frames, one arm, some questions about it; encoded once."""
    answers = []
    with arm.applied(model, preparer) as prepare:
        pixels = prepare.frame_processor(clip.frames)[None].to(model.device, model.dtype)
        for question in questions:
            ids = prepare.prompt_ids(prompt_of(question, show_options), arm.frames)
            ids = ids.to(model.device)
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                pixel_values_videos=pixels,
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )[0, ids.shape[1] :]
            text = prepare.tokenizer.decode(output, skip_special_tokens=True).strip()
            answers.append(Prediction(question.id, arm.name, text))
    return answers


def prompt_of(question: VideoQuestion, show_options: bool) -> str:
    """The question, and with ``show_options`` its options as "A. ..." and how to answer."""
    if not (show_options and question.options):
        return question.question
    lines = [f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(question.options)]
    return "\n".join((question.question, *lines, "Answer with the letter of the right option."))


def _check_settings(path: Path, questions: Sequence[VideoQuestion], settings: dict) -> None:
    """Answers to other questions must not be mixed with these."""
    told = json.dumps([[q.id, q.video, q.question] for q in questions])
    wanted = settings | {"questions": hashlib.sha256(told.encode()).hexdigest()[:16]}
    if path.exists():
        found = json.loads(path.read_text())
        if found != wanted:
            different = sorted(k for k in found | wanted if found.get(k) != wanted.get(k))
            raise ModelError(
                f"eval: {path.parent} holds the answers of another run (other "
                f"{', '.join(different)}); give another directory"
            )
    else:
        path.write_text(json.dumps(wanted, indent=2) + "\n")


def weights_digest(model: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight of the model: whose answers these are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def read_predictions(directory: Path) -> dict[tuple[str, str], Prediction]:
    """By question and arm, the newest first served; a line cut short by a crash is left out."""
    found: dict[tuple[str, str], Prediction] = {}
    path = directory / PREDICTIONS
    if not path.exists():
        return found
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) != len(content):
        path.write_bytes(whole)  # so that the next line begins on a line of its own
    for line in whole.decode("utf-8").splitlines():
        prediction = Prediction(**json.loads(line))
        found[prediction.id, prediction.arm] = prediction
    return found
