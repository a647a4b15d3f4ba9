"""Families that bring every frame to one size: as many tokens for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..models import family_for
from .base import Frames, Times, VideoProcessing, checked_times
from .frame_processor import FrameProcessor
from .model_frames import ModelFrames, Units
from .pixels import checked_frames


class FrameShaper(Protocol):
    """What brings frames to one size: :class:`FrameProcessor`, or a family's own."""

    def __call__(self, frames: Frames) -> torch.Tensor:
        """uint8 ``[F, H, W, 3]`` -> float32 ``[F, 3, height, width]``."""
        ...

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of a frame that is left: left, top, right, bottom, in its pixels."""
        ...


@dataclass(frozen=True, kw_only=True)
class FixedSizeProcessing(VideoProcessing):
    """``pixel_values_videos`` float32 ``[1, F, 3, height, width]``; one frame is a unit.

    Attributes:
        frame_processor: brings frames to that size.
        tokens_per_frame: placeholders of a frame.
    """

    frame_processor: FrameShaper
    tokens_per_frame: int

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        return {
            "frame_processor": cls._frame_processor(values, source),
            "tokens_per_frame": family_for(config).tokens_per_frame(config),
        }

    @classmethod
    def _frame_processor(cls, values: Mapping[str, Any], source: str) -> FrameShaper:
        return FrameProcessor.from_values(values, source)

    @property
    def frames_per_unit(self) -> int:
        return 1

    def units(
        self,
        count: int,
        height: int,
        width: int,
        times: Times,
        duration: float | None = None,
    ) -> Units:
        seconds = checked_times(times, count, type(self).__name__)
        return self.units_of(seconds, duration)

    def units_of(self, times: Sequence[float], duration: float | None = None) -> Units:
        """The units of frames at these times; their size does not matter."""
        tokens = (self.tokens_per_frame,) * len(times)
        return Units(len(times), 1, tokens, tuple(times), duration)

    def frames(self, frames: Frames, times: Times, duration: float | None = None) -> ModelFrames:
        frames = checked_frames(frames, type(self).__name__)
        count, height, width, _ = frames.shape
        units = self.units(count, height, width, times, duration)
        return ModelFrames(self._tensors(self.frame_processor(frames)), units)

    def _tensors(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values_videos": pixels[None]}

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        return self.frame_processor.seen(height, width)
