"""What every family can do with a video: make tensors of its frames, and a text around them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from .. import compat
from ..errors import ModelError
from .model_frames import ModelFrames, Units
from .prompt import History, PlainPrompt, chat_prompt, cut_at, has_template, token_ids
from .values import read_chat_template, read_values

Frames = np.ndarray | torch.Tensor  # uint8 [T, H, W, 3], RGB
Times = Sequence[float] | np.ndarray  # seconds, one for each frame


@dataclass(frozen=True, kw_only=True)
class VideoProcessing(ABC):
    """Frames and a question -> the inputs of a family's model; one file for each family.

    Attributes:
        placeholder_id: the token that a visual feature replaces.
        chat_template: of the checkpoint's processor; None: the tokenizer's own.
    """

    placeholder_id: int
    chat_template: str | None = None

    model_types: ClassVar[tuple[str, ...]]  # as in config.json
    defaults: ClassVar[Mapping[str, Any]] = {}  # of values that a checkpoint may leave out
    shown_as: ClassVar[str] = "video"  # "image": frames are images to the model
    prompt_without_template: ClassVar[PlainPrompt | None] = None  # of checkpoints without one
    token_types: ClassVar[bool] = False  # whether positions need mm_token_type_ids

    @classmethod
    def from_directory(cls, directory: str | Path, config: Any) -> VideoProcessing:
        """From a checkpoint's preprocessor values and chat template.

        Raises:
            ModelError: they are missing or make no sense.
        """
        values, source = read_values(directory)
        return cls.from_values(values, config, source, read_chat_template(directory))

    @classmethod
    def from_values(
        cls,
        values: Mapping[str, Any],
        config: Any,
        source: str = "processor",
        chat_template: str | None = None,
    ) -> VideoProcessing:
        """From entries of preprocessor_config.json; what is None or absent has its default.

        Raises:
            ModelError: a value makes no sense.
        """
        given = {name: value for name, value in values.items() if value is not None}
        return cls(
            placeholder_id=_placeholder_id(config, cls.shown_as),
            chat_template=chat_template,
            **cls._fields({**cls.defaults, **given}, config, source),
        )

    @classmethod
    @abstractmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        """The family's own fields, from complete values."""

    @property
    @abstractmethod
    def frames_per_unit(self) -> int:
        """Frames that the encoder looks at together."""

    @abstractmethod
    def units(
        self,
        count: int,
        height: int,
        width: int,
        times: Times,
        duration: float | None = None,
    ) -> Units:
        """What :meth:`frames` tells of so many frames of that size, before any is seen."""

    @abstractmethod
    def frames(self, frames: Frames, times: Times, duration: float | None = None) -> ModelFrames:
        """The tensors that the model takes.

        Args:
            frames: uint8 ``[T, H, W, 3]``, RGB.
            times: of each, seconds.
            duration: seconds that the frames stand for, spread evenly over them; None: as far as
                they are apart.

        Raises:
            TypeError, ValueError: frames or times of the wrong kind.
        """

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of a frame that the model is shown: left, top, right, bottom, in its pixels."""
        return 0.0, 0.0, float(width), float(height)

    def text(
        self, model_frames: ModelFrames, question: str, tokenizer: Any, history: History = ()
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The prompt, int64 ``[1, S]``, and what else the model takes about it, by name.

        Args:
            model_frames: from :meth:`frames`; only its units are read.
            question: words only, see :func:`intp_video.questions.checked_question`.
            tokenizer: of the checkpoint.
            history: questions about the same video before this one, and their answers.

        Raises:
            ModelError: the checkpoint's chat template or tokenizer is not made for videos.
        """
        placeholder = tokenizer.convert_ids_to_tokens(self.placeholder_id)
        if placeholder is None:
            raise ModelError(f"the tokenizer has no token {self.placeholder_id}, the placeholder")
        marker = self._marker(placeholder, tokenizer)
        prompt = self._prompt(marker, question, tokenizer, history)
        before, after = self._around(prompt, marker, tokenizer)
        video, runs = self._video_text(model_frames.units, placeholder, tokenizer)
        ids = token_ids(tokenizer, before + video + after, self.placeholder_id, runs)
        more = {}
        if self.token_types and compat.takes_token_types():
            more["mm_token_type_ids"] = (ids == self.placeholder_id) * 2  # 2: of a video
        return ids, more

    def _marker(self, placeholder: str, tokenizer: Any) -> str:
        """What a chat template writes where a video goes."""
        return placeholder

    def _prompt(self, marker: str, question: str, tokenizer: Any, history: History) -> str:
        plain = self.prompt_without_template
        if plain is not None and not has_template(tokenizer, self.chat_template):
            return plain.of(marker, question, history, getattr(tokenizer, "eos_token", None) or "")
        return chat_prompt(tokenizer, question, self.chat_template, history)

    def _around(self, prompt: str, marker: str, tokenizer: Any) -> tuple[str, str]:
        return cut_at(prompt, marker)

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        """The text of the video with one placeholder for each unbroken run, and their lengths."""
        return placeholder, [sum(units.tokens)]


def _placeholder_id(config: Any, shown_as: str) -> int:
    for name in (f"{shown_as}_token_id", f"{shown_as}_token_index"):
        token = getattr(config, name, None)
        if token is not None:
            return token
    raise ModelError(f"config: expected {shown_as}_token_id, got none")


def checked_times(times: Times, count: int, caller: str) -> list[float]:
    """Raises a ValueError unless there is a time for each frame."""
    seconds = [float(time) for time in times]
    if len(seconds) != count:
        raise ValueError(
            f"{caller}: times: expected one for each of {count} frames, got {len(seconds)}"
        )
    return seconds
