"""Turn a video and a question into the inputs of ``model.generate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .errors import ModelError
from .model_source import folder_of, load_config
from .processing import ModelFrames, VideoProcessing, processing_for
from .processing.fixed import FixedSizeProcessing
from .processing.grid import GridProcessing
from .processing.prompt import History
from .questions import checked_question
from .reasons import in_one_line
from .sampling import check_frames, round_up_to_groups
from .video import Clip, Part, read_video


@dataclass(frozen=True)
class Preparer:
    """What turns a clip and a question into model inputs: a tokenizer and a family's processing.

    Attributes:
        tokenizer: a Hugging Face tokenizer.
        processing: see :class:`~intp_video.processing.VideoProcessing`.
    """

    tokenizer: Any
    processing: VideoProcessing

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
        family = processing_for(config.model_type)  # an unknown one before what it may lack
        try:
            tokenizer = AutoTokenizer.from_pretrained(directory)
        except Exception as error:  # whatever is wrong with the files: KeyError, TypeError, ...
            raise ModelError(f"{directory}: no tokenizer: {in_one_line(error)}") from error
        return cls(tokenizer, family.from_directory(folder_of(directory), config))

    @classmethod
    def from_processor(cls, processor: Any, config: Any) -> Preparer:
        """From a Hugging Face processor: its tokenizer and its video or image processor."""
        family = processing_for(config.model_type)
        for name in ("video_processor", "image_processor"):
            values = getattr(processor, name, None)
            if values is not None and hasattr(values, "image_mean"):
                template = getattr(processor, "chat_template", None)
                processing = family.from_values(
                    vars(values), config, type(values).__name__, template
                )
                return cls(processor.tokenizer, processing)
        raise ModelError(
            f"{type(processor).__name__} has neither a video_processor nor an image_processor"
        )

    @property
    def video_token_id(self) -> int:
        """The placeholder, which stands for images too in some families."""
        return self.processing.placeholder_id

    @property
    def frames_per_group(self) -> int:
        """Frames that the video encoder looks at together."""
        return self.processing.frames_per_unit

    @property
    def frame_processor(self) -> Any:
        """Of a family with frames of one size, see
        :class:`~intp_video.processing.frame_processor.FrameProcessor`.

        Raises:
            ModelError: the size of the family's frames depends on the video.
        """
        return self.fixed_size.frame_processor

    @property
    def tokens_per_frame(self) -> int:
        """Of a family with frames of one size.

        Raises:
            ModelError: the size of the family's frames depends on the video.
        """
        return self.fixed_size.tokens_per_frame

    @property
    def fixed_size(self) -> FixedSizeProcessing:
        """The processing of a family with frames of one size.

        Raises:
            ModelError: the size of the family's frames depends on the video.
        """
        if not isinstance(self.processing, FixedSizeProcessing):
            raise ModelError(
                f"{type(self.processing).__name__}: frames have as many tokens as their size and "
                "number ask for; expected a family with frames of one size"
            )
        return self.processing

    def __call__(self, clip: Clip, question: str, history: History = ()) -> dict[str, torch.Tensor]:
        """Inputs for one clip and one question; some frames are repeated where the last group would
        not be whole.

        Args:
            history: questions about the same clip before this one, and their answers.

        Returns:
            ``input_ids`` and ``attention_mask`` int64 ``[1, S]``, and what the family's model takes
            beside them: for Video-LLaVA ``pixel_values_videos`` float32 ``[1, M, 3, height,
            width]``.

        Raises:
            TypeError, ValueError: see :meth:`check_question`.
            ModelError: the checkpoint's tokenizer or chat template is not made for videos.
        """
        question = self.check_question(question)
        made = self.processing.frames(clip.frames, clip.timestamps, clip.covered)
        return self._with_text(made, question, history)

    def frame_size(self, clip: Clip) -> tuple[int, int] | None:
        """Height and width of the frames of a clip as the encoder gets them, in pixels; None where
        they are the same for every clip."""
        if not isinstance(self.processing, GridProcessing):
            return None
        count, height, width = clip.frames.shape[:3]
        return self.processing.size(count, height, width)

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
        """The prompt alone, int64 ``[1, S]``, of a family with frames of one size.

        Frames are taken to be a second apart, where the family's prompt tells their time.

        Raises:
            TypeError, ValueError: see :meth:`check_question`.
            ModelError: the size of the family's frames depends on the video.
        """
        question = self.check_question(question)
        units = self.fixed_size.units_of([float(second) for second in range(frames)])
        return self._with_text(ModelFrames({}, units), question)["input_ids"]

    def _with_text(
        self, made: ModelFrames, question: str, history: History = ()
    ) -> dict[str, torch.Tensor]:
        ids, more = self.processing.text(made, question, self.tokenizer, history)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **made.tensors, **more}


def check_preparer(preparer: Any, function: str) -> None:
    """
    Raises:
        TypeError: it is none: a directory or a Hugging Face processor, say.
    """
    if not isinstance(preparer, Preparer):
        raise TypeError(
            f"{function}: preparer: expected a Preparer, from intp_video.load(directory), "
            f"Preparer.from_pretrained(directory) or Preparer.from_processor(processor, config), "
            f"got {type(preparer).__name__}"
        )


def prepare(
    processor_or_directory: Any,
    video: str | Path | Clip,
    question: str,
    frames: int | None = 64,
    *,
    start: float | None = None,
    end: float | None = None,
    fps: float | None = None,
    backend: str = "auto",
    config: Any = None,
) -> dict[str, torch.Tensor]:
    """The inputs of ``model.generate`` for a question about a video. Needs no torchvision.

    Args:
        processor_or_directory: a model directory or hub id, a :class:`Preparer`, or a Hugging Face
            processor (with ``config``).
        video: a file, or a :class:`Clip` that has already been read (``frames`` is then unused).
        question: in words.
        frames: frames to sample, at segment centers; rounded up to whole groups of the family: 8
            of Video-LLaVA, a temporal patch of the Qwen family. With ``fps``, the most; None: no
            limit.
        start, end, fps: which part of a file, and how many frames a second of it, see
            :func:`read_video`.
        backend: video decoder, see :func:`read_video`.
        config: the model's config, for a Hugging Face processor.

    Returns:
        What :meth:`Preparer.__call__` returns.

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
    Part(start, end, fps).check("prepare", video)
    if not isinstance(video, Clip):
        if frames is not None or fps is None:
            frames = check_frames(frames, function="prepare")  # type: ignore[arg-type]
            frames = round_up_to_groups(frames, preparer.frames_per_group)
        video = read_video(video, frames, backend=backend, start=start, end=end, fps=fps)
    return preparer(video, question)
