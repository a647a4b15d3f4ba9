"""Families that bring every frame to one size: as many tokens for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .base import Frames, VideoProcessing, checked_times
from .frame_processor import FrameProcessor
from .model_frames import ModelFrames, Units
from .pixels import checked_frames


@dataclass(frozen=True, kw_only=True)
class FixedSizeProcessing(VideoProcessing):
    """``pixel_values_videos`` float32 ``[1, F, 3, height, width]``; one frame is a unit.

    Attributes:
        frame_processor: uint8 ``[F, H, W, 3]`` -> float32 ``[F, 3, height, width]``.
        tokens_per_frame: placeholders of a frame.
    """

    frame_processor: Callable[[Frames], torch.Tensor]
    tokens_per_frame: int

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        frame_processor = FrameProcessor.from_values(values, source)
        patches = tuple(
            side // patch_size(config) for side in (frame_processor.height, frame_processor.width)
        )
        return {
            "frame_processor": frame_processor,
            "tokens_per_frame": cls._tokens(*patches, config),
        }

    @staticmethod
    def _tokens(rows: int, columns: int, config: Any) -> int:
        """Placeholders of a frame of so many patches."""
        raise NotImplementedError

    @property
    def frames_per_unit(self) -> int:
        return 1

    def units(
        self,
        count: int,
        height: int,
        width: int,
        times: Sequence[float],
        duration: float | None = None,
    ) -> Units:
        times = checked_times(times, count, type(self).__name__)
        return self.units_of(times, duration)

    def units_of(self, times: Sequence[float], duration: float | None = None) -> Units:
        """The units of frames at these times; their size does not matter."""
        tokens = (self.tokens_per_frame,) * len(times)
        return Units(len(times), 1, tokens, tuple(times), duration)

    def frames(
        self, frames: Frames, times: Sequence[float], duration: float | None = None
    ) -> ModelFrames:
        frames = checked_frames(frames, type(self).__name__)
        units = self.units(*frames.shape[:3], times, duration)
        return ModelFrames(self._tensors(self.frame_processor(frames)), units)

    def _tensors(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values_videos": pixels[None]}

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        return self.frame_processor.seen(height, width)


def patch_size(config: Any) -> int:
    """Pixels of a patch of the vision encoder; some configs have a pair of them."""
    size = config.vision_config.patch_size
    return size if isinstance(size, int) else size[0]
