"""Asking every question in every arm, and keeping what was said whatever happens."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ...errors import VideoError
from ...generation import generate
from ...preparation import Preparer
from ...records.digests import config_digest, file_digest, json_digest
from ...video import Clip, read_video
from .arms import Arm
from .folder import exclusive
from .predictions import Prediction, appended_predictions, read_predictions
from .question_file import VideoQuestion
from .resuming import check_settings, check_videos


def evaluate(
    model: PreTrainedModel,
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
        settings: whatever else decides the answers (digest of the weights, dtype, ...); kept in
            ``settings.json`` beside digests of the prompts and of the model's config. No paths: a
            run goes on when its folder, its videos or the model have moved.
        max_new_tokens: of an answer.
        show_options: put the options into the prompt, as "A. ...".
        backend: video decoder.
        progress: called with (done, in all, what comes next).

    Returns:
        All predictions, of this run and the ones before.

    Raises:
        ModelError: the directory holds answers to other questions, about other videos or with
            other settings, or another run is writing into it.
        ValueError: a question that cannot be asked, see :meth:`Preparer.check_question`.
        OSError: the directory cannot be written.
    """
    directory = Path(directory)
    told: dict[str, Any] = {"max_new_tokens": max_new_tokens, "show_options": show_options}
    deciding = {
        "questions": _questions_digest(preparer, questions, show_options),
        "config": config_digest(model),
        "preprocessing": str(preparer.frame_processor),
    }
    total, done = len(questions) * len(arms), 0
    by_video = sorted(questions, key=lambda question: question.video)
    digest_of = functools.cache(file_digest)
    with exclusive(directory):
        said = read_predictions(directory)
        check_settings(directory, (settings or {}) | told | deciding, bool(said))
        check_videos(directory, questions, said, digest_of)
        with appended_predictions(directory) as append:

            def keep(prediction: Prediction, video: str) -> None:
                prediction = replace(prediction, video=digest_of(video))
                said[prediction.id, prediction.arm] = prediction
                append(prediction)

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
                            keep(Prediction(question.id, arm.name, None, str(clip)), video)
                    else:
                        for answer in ask_all(model, preparer, clip, todo, arm, **told):
                            keep(answer, video)
                    done += len(todo)
    if progress is not None:
        progress(total, total, "")
    wanted = {(q.id, arm.name) for q in questions for arm in arms}
    return [prediction for key, prediction in said.items() if key in wanted]


def _open(prediction: Prediction | None) -> bool:
    return prediction is None or prediction.said is None


@torch.no_grad()
def ask_all(
    model: PreTrainedModel,
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
            inputs = {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "pixel_values_videos": pixels,
            }
            said = prepare.text_of(generate(model, inputs, max_new_tokens))
            answers.append(Prediction(question.id, arm.name, said))
    return answers


def prompt_of(question: VideoQuestion, show_options: bool) -> str:
    """The question, and with ``show_options`` its options as "A. ..." and how to answer."""
    if not (show_options and question.options):
        return question.question
    lines = [f"{chr(ord('A') + i)}. {option}" for i, option in enumerate(question.options)]
    return "\n".join((question.question, *lines, "Answer with the letter of the right option."))


def _questions_digest(
    preparer: Preparer, questions: Sequence[VideoQuestion], show_options: bool
) -> str:
    """Of what the model is asked, token by token."""
    asked = []
    for question in questions:
        try:
            ids = preparer.prompt_ids(prompt_of(question, show_options), frames=0)
        except ValueError as error:
            raise ValueError(f"eval: question {question.id!r}: {error}") from error
        asked.append((question.id, ids[0].tolist()))
    return json_digest(asked)
