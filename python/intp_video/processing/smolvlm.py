"""SmolVLM 2: square frames that are images to the model, each announced by its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import torch

from .base import Frames
from .fixed import FixedSizeProcessing
from .model_frames import Units
from .number_words import number_words
from .pixels import HALF, LANCZOS, PixelValues, checked_frames, chunks
from .prompt import History, PlainPrompt, special_token
from .sizes import longest_edge_size
from .values import expect, sides, wrong

_PROMPT = PlainPrompt(
    "<|im_start|>User: {video}{question}<end_of_utterance>\nAssistant:",
    " {answer}{end}\nUser: {question}<end_of_utterance>\nAssistant:",
)
_INTRO = (
    "You are provided the following series of {count} frames from a {length} [H:MM:SS] video.\n"
)


@dataclass(frozen=True)
class SquaredFrames:
    """Resized to a longest edge, then to a square: the second step loses the shape again.

    Attributes:
        pixels: what becomes of a pixel.
        edge: of the first step.
        side: of the square.
    """

    pixels: PixelValues
    edge: int
    side: int

    def __call__(self, frames: Frames) -> torch.Tensor:
        """uint8 ``[T, H, W, 3]`` -> float32 ``[T, 3, side, side]``."""
        frames = checked_frames(frames, type(self).__name__)
        first = longest_edge_size(frames.shape[1], frames.shape[2], self.edge)
        result = torch.empty((len(frames), 3, self.side, self.side))
        for start, pixels in chunks(frames):
            pixels = self.pixels.resize(pixels, first)
            pixels = self.pixels.resize(pixels, (self.side, self.side))
            result[start : start + len(pixels)] = self.pixels.normalize(pixels)
        return result

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """All of a frame."""
        return 0.0, 0.0, float(width), float(height)


@dataclass(frozen=True, kw_only=True)
class SmolvlmProcessing(FixedSizeProcessing):
    """``pixel_values`` float32 ``[1, F, 3, side, side]`` and ``pixel_attention_mask`` int64
    ``[1, F, side, side]``, all ones.

    The prompt is the one that transformers uses for videos, whatever template a checkpoint has.
    """

    model_types = ("smolvlm",)
    shown_as = "image"
    defaults: ClassVar[Mapping[str, Any]] = {
        **HALF,
        "resample": LANCZOS,
        "size": {"longest_edge": 4 * 364},
        "max_image_size": {"longest_edge": 364},
    }

    @classmethod
    def _frame_processor(cls, values: Mapping[str, Any], source: str) -> SquaredFrames:
        expect(values, "do_resize", True, source)
        sampling = values.get("video_sampling")  # how the published checkpoints tell the size
        if isinstance(sampling, Mapping) and "video_size" in sampling:
            values = {**values, "size": sampling["video_size"]}
        edges = []
        for name in ("size", "max_image_size"):
            edge = sides(values, name, source).get("longest_edge")
            if edge is None:
                raise wrong(source, name, "longest_edge", values[name])
            edges.append(edge)
        return SquaredFrames(PixelValues.from_values(values, source), *edges)

    def _tensors(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        mask = torch.ones((1, len(pixels), *pixels.shape[-2:]), dtype=torch.int64)
        return {"pixel_values": pixels[None], "pixel_attention_mask": mask}

    def _marker(self, placeholder: str, tokenizer: Any) -> str:
        return special_token(tokenizer, "video_token", "<video>")

    def _prompt(self, marker: str, question: str, tokenizer: Any, history: History) -> str:
        return _PROMPT.of(marker, question, history, "<end_of_utterance>")

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        fake = special_token(tokenizer, "fake_image_token", "<fake_token_around_image>")
        whole = special_token(tokenizer, "global_image_token", "<global-img>")
        # of a part of a video, as far as it is shown: times are those of the whole
        length = int(max(units.seconds[-1], units.duration or 0))
        text = _INTRO.format(count=number_words(units.frames), length=timedelta(seconds=length))
        for second in units.seconds:
            minutes, seconds = divmod(int(second), 60)
            text += f"\nFrame from {minutes:02d}:{seconds:02d}:{fake}{whole}{placeholder}{fake}"
        return text + "\n\n", units.tokens
