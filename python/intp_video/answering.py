"""A question about a video, answered: every step of the package in a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from .errors import ModelError
from .hook import extend
from .model_source import check_weights
from .models import video_model_for
from .planning import load_config
from .preparation import Preparer
from .reasons import in_one_line
from .sampling import round_up_to_groups
from .video import Clip, read_video


@dataclass(frozen=True)
class Answer:
    """What the model said, and what was done for it.

    Attributes:
        text: the answer, special tokens removed.
        token_ids: the generated tokens.
        frames: frames shown, whole groups.
        prompt_tokens: tokens before the answer, the video's included.
        extension: how the model was extended, in words.
        factor: how far RoPE was stretched.
        seconds: of each stage: decode (unless a clip was given), prepare, encode, prefill,
            generate.
        clip: the frames and what was lost on the way to them.
    """

    text: str
    token_ids: list[int]
    frames: int
    prompt_tokens: int
    extension: str
    factor: float
    seconds: dict[str, float]
    clip: Clip


def load(
    directory: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> tuple[PreTrainedModel, Preparer]:
    """A Video-LLM and what prepares its inputs, from a Hugging Face directory or hub id.

    Args:
        directory: with config.json, weights, tokenizer and preprocessor values.
        dtype: of the weights; None for the config's own.
        device: where the model goes.

    Raises:
        ModelError: something is missing there, broken, or of a model type that is not known.
    """
    return load_model(directory, dtype=dtype, device=device), Preparer.from_pretrained(directory)


def load_model(
    directory: str | Path, *, dtype: torch.dtype | None, device: torch.device | str
) -> PreTrainedModel:
    """The model of :func:`load`, alone."""
    config = load_config(directory)
    model_class = video_model_for(config).model_class(config)
    check_weights(directory)
    try:
        model, found = model_class.from_pretrained(
            directory, dtype=dtype or "auto", output_loading_info=True
        )
    except Exception as error:  # whatever is wrong with the files: OSError, SafetensorError, ...
        raise ModelError(f"{directory}: no weights: {in_one_line(error)}") from error
    if missing := found["missing_keys"]:  # transformers makes random ones for them
        raise ModelError(
            f"{directory}: the weights lack {len(missing)} tensors of the model, {min(missing)} "
            "among them"
        )
    return model.to(device).eval()


def check_options(directory: str | Path, frames: int, **options: Any) -> None:
    """Says what is wrong with options of :func:`extend`, without reading the weights.

    Raises:
        ModelError: config.json describes no model.
        TypeError, ValueError: as :func:`extend`.
    """
    extend(meta_model(directory), frames, **options).restore()


def meta_model(directory: str | Path) -> PreTrainedModel:
    """The model of a config, with shapes and no weights.

    Raises:
        ModelError: config.json describes no model.
    """
    config = load_config(directory)
    model_class = video_model_for(config).model_class(config)
    try:
        with torch.device("meta"):
            return model_class(config)
    except Exception as error:  # whatever a number in a config can lead to
        raise ModelError(f"{directory}: no model in config.json: {in_one_line(error)}") from error


def ask(
    model: PreTrainedModel,
    preparer: Preparer,
    video: str | Path | Clip,
    question: str,
    frames: int | None = None,
    *,
    max_new_tokens: int = 64,
    backend: str = "auto",
    on_stage: Callable[[str], None] | None = None,
    on_encode: Callable[[int, int], None] | None = None,
    on_token: Callable[[int], None] | None = None,
    **options: Any,
) -> Answer:
    """Decode, group, encode, rearrange, stretch RoPE, answer; leave the model as it was. Greedy.

    Args:
        model, preparer: from :func:`load`, or your own.
        video: a file, or a clip that was read already.
        question: in words.
        frames: frames to show, rounded up to whole groups; None: 64 of a file, all of a clip. RoPE
            is stretched for so many, shown or not.
        max_new_tokens: length of the answer at most.
        backend: video decoder, see :func:`read_video`.
        on_stage, on_encode, on_token: called with the name of a stage as it begins, with (groups
            done, groups in all), with the number of tokens so far.
        **options: of :func:`extend`: rope, factor, span, window, ...

    Raises:
        VideoError, ModelError, TypeError, ValueError: see :func:`read_video`, :func:`prepare`,
            :func:`extend`.
    """
    clock = _Stages(on_stage)
    # a bad question and bad options are said before minutes of decoding
    preparer.check_question(question, "ask")
    if frames is None:
        frames = len(video) if isinstance(video, Clip) else 64
    with extend(model, frames, **options) as handle:
        if not isinstance(video, Clip):
            clock.begin("decode")
            wanted = round_up_to_groups(frames, preparer.frames_per_group)
            video = read_video(video, wanted, backend=backend)
        clock.begin("prepare")
        inputs = preparer(video, question)
        device, dtype = model.device, model.dtype
        inputs = {name: value.to(device) for name, value in inputs.items()}
        inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(dtype)
        prompt_tokens = inputs["input_ids"].shape[1]

        def encoded(done: int, total: int) -> None:
            if on_encode is not None:
                on_encode(done, total)
            if done == total:
                clock.begin("prefill")

        def generated(count: int) -> None:
            if on_token is not None:
                on_token(count)
            if count == 1:
                clock.begin("generate")

        handle.on_encode = encoded
        clock.begin("encode")
        ids = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([_Count(prompt_tokens, generated)]),
        )[0, prompt_tokens:]
        seconds = clock.finish()
    return Answer(
        text=preparer.tokenizer.decode(ids, skip_special_tokens=True).strip(),
        token_ids=ids.tolist(),
        frames=inputs["pixel_values_videos"].shape[1],
        prompt_tokens=prompt_tokens,
        extension=repr(handle),
        factor=handle.factor,
        seconds=seconds,
        clip=video,
    )


class _Stages:
    """Seconds between one ``begin`` and the next; on a GPU the stage's work is waited for."""

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self._on_stage = on_stage
        self._current: str | None = None
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    def begin(self, name: str) -> None:
        self._end()
        self._current = name
        if self._on_stage is not None:
            self._on_stage(name)
        self._since = time.perf_counter()

    def finish(self) -> dict[str, float]:
        self._end()
        return self.seconds

    def _end(self) -> None:
        if self._current is not None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds[self._current] = time.perf_counter() - self._since


class _Count(StoppingCriteria):
    """Never stops; says how many tokens there are."""

    def __init__(self, prompt_tokens: int, on_token: Callable[[int], None]) -> None:
        self.prompt_tokens, self.on_token = prompt_tokens, on_token

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.on_token(input_ids.shape[1] - self.prompt_tokens)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
