"""Turn a video and a question into the inputs of ``model.generate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import ModelError
from .frame_processor import FrameProcessor
from .model_source import folder_of, load_config
from .models import family_for
from .questions import checked_question
from .reasons import in_one_line
from .sampling import repeat_to_groups, round_up_to_groups
from .video import Clip, read_video

PROMPT = "USER: {video}\n{question} ASSISTANT:"  # the format Video-LLaVA was trained on


@dataclass(frozen=True)
class Preparer:
    """What turns a clip and a question into model inputs: tokenizer, frame processor, sizes.

    Attributes:
        tokenizer: a Hugging Face tokenizer.
        frame_processor: see :class:`FrameProcessor`.
        video_token_id: the placeholder.
        tokens_per_frame, frames_per_group: P and N.
    """

    tokenizer: Any
    frame_processor: FrameProcessor
    video_token_id: int
    tokens_per_frame: int
    frames_per_group: int

    @classmethod
    def from_pretrained(cls, directory: str | Path, config: Any = None) -> Preparer:
        """From a Hugging Face model directory or hub id; needs no torchvision.

        Args:
            directory: with a tokenizer and preprocessor values.
            config: of the model; None: config.json is read.

        Raises:
            ModelError: there is no config, tokenizer or preprocessor values.
        """
        from transformers import AutoTokenizer

        config = load_config(directory) if config is None else config
        family_for(config)  # report an unknown model type before what it may lack
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory)
        except Exception as error:  # whatever is wrong with the files: KeyError, TypeError, ...
            raise ModelError(f"{directory}: no tokenizer: {in_one_line(error)}") from error
        return cls._build(tokenizer, FrameProcessor.from_directory(folder_of(directory)), config)

    @classmethod
    def from_processor(cls, processor: Any, config: Any) -> Preparer:
        """From a Hugging Face processor: its tokenizer and its video or image processor."""
        for name in ("video_processor", "image_processor"):
            values = getattr(processor, name, None)
            if values is not None and hasattr(values, "image_mean"):
                return cls._build(
                    processor.tokenizer, FrameProcessor.from_values(vars(values)), config
                )
        raise ModelError(
            f"{type(processor).__name__} has neither a video_processor nor an image_processor"
        )

    @classmethod
    def _build(cls, tokenizer: Any, frame_processor: FrameProcessor, config: Any) -> Preparer:
        family = family_for(config)
        return cls(
            tokenizer,
            frame_processor,
            family.placeholder_id(config),
            family.tokens_per_frame(config),
            family.frames_per_group(config),
        )

    def __call__(self, clip: Clip, question: str) -> dict[str, torch.Tensor]:
        """Inputs for one clip and one question; the clip's frames are repeated up to whole groups.

        Returns:
            ``input_ids`` and ``attention_mask`` int64 ``[1, S]``, ``pixel_values_videos`` float32
            ``[1, M, 3, height, width]``.

        Raises:
            TypeError, ValueError: see :meth:`check_question`.
        """
        question = self.check_question(question)
        clip = clip.take(repeat_to_groups(len(clip), self.frames_per_group))
        ids = self.prompt_ids(question, len(clip))
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values_videos": self.frame_processor(clip.frames)[None],
        }

    def check_question(self, question: Any, caller: str = "prepare") -> str:
        """The question, without space around it, if a prompt can be made of it.

        Raises:
            TypeError: the question is not a string.
            ValueError: it is empty, is not Unicode text, or holds special tokens of the tokenizer.
        """
        return checked_question(question, self.tokenizer, self.video_token_id, caller)

    def text_of(self, ids: torch.Tensor) -> str:
        """Tokens ``[T]`` as text, without special tokens and surrounding space."""
        return self.tokenizer.decode(ids, skip_special_tokens=True).strip()

    def prompt_ids(self, question: str, frames: int) -> torch.Tensor:
        """The prompt alone, int64 ``[1, S]``, with ``tokens_per_frame`` placeholders per frame.

        Raises:
            TypeError, ValueError: see :meth:`check_question`.
        """
        question = self.check_question(question)
        placeholder = self.tokenizer.convert_ids_to_tokens(self.video_token_id)
        prompt = PROMPT.format(video=placeholder, question=question)
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids  # [1, s], one placeholder
        at = (ids[0] == self.video_token_id).nonzero()
        if len(at) != 1:
            raise ModelError(f"the tokenizer does not keep {placeholder} as one token")
        at = int(at)
        video = torch.full(
            (1, frames * self.tokens_per_frame), self.video_token_id, dtype=ids.dtype
        )
        return torch.cat((ids[:, :at], video, ids[:, at + 1 :]), dim=1)


def prepare(
    processor_or_directory: Any,
    video: str | Path | Clip,
    question: str,
    frames: int = 64,
    *,
    backend: str = "auto",
    config: Any = None,
) -> dict[str, torch.Tensor]:
    """The inputs of ``model.generate`` for a question about a video. Needs no torchvision.

    Args:
        processor_or_directory: a model directory or hub id, a :class:`Preparer`, or a Hugging Face
            processor (with ``config``).
        video: a file, or a :class:`Clip` that has already been read (``frames`` is then unused).
        question: in words.
        frames: frames to sample, at segment centers; rounded up to whole groups.
        backend: video decoder, see :func:`read_video`.
        config: the model's config, for a Hugging Face processor.

    Returns:
        ``input_ids``, ``attention_mask`` int64 ``[1, S]``; ``pixel_values_videos`` float32
        ``[1, M, 3, height, width]``.

    Raises:
        VideoError: the video cannot be read.
        ModelError: the directory is not a model, or lacks a tokenizer or preprocessor values.
        TypeError, ValueError: frames out of range, or a bad question, see
            :meth:`Preparer.check_question`.
    """
    if isinstance(processor_or_directory, Preparer):
        preparer = processor_or_directory
    elif isinstance(processor_or_directory, str | Path):
        preparer = Preparer.from_pretrained(processor_or_directory)
    else:
        if config is None:
            raise TypeError(
                "prepare: config: expected the model's config beside a processor, got None"
            )
        preparer = Preparer.from_processor(processor_or_directory, config)
    preparer.check_question(question)  # before minutes of decoding
    if not isinstance(video, Clip):
        video = read_video(
            video, round_up_to_groups(frames, preparer.frames_per_group), backend=backend
        )
    return preparer(video, question)
