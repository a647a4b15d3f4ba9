"""Video-LLaVA: frames of 224 x 224 in groups of 8, one unbroken run of placeholders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..models import family_for
from ..sampling import repeat_to_groups
from .base import Frames, Times, checked_times
from .fixed import FixedSizeProcessing
from .model_frames import ModelFrames, Units
from .pixels import checked_frames
from .prompt import VICUNA


@dataclass(frozen=True, kw_only=True)
class VideoLlavaProcessing(FixedSizeProcessing):
    """A unit is a group of frames; frames are repeated, spread evenly, up to whole groups.

    Attributes:
        frames_per_group: N, frames that the video encoder was trained on.
    """

    frames_per_group: int = 8
    model_types = ("video_llava",)
    prompt_without_template = VICUNA

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        per_group = family_for(config).frames_per_group(config)
        return {**super()._fields(values, config, source), "frames_per_group": per_group}

    @property
    def frames_per_unit(self) -> int:
        return self.frames_per_group

    def units_of(self, times: Sequence[float], duration: float | None = None) -> Units:
        starts = range(0, len(times), self.frames_per_group)
        return Units(
            frames=len(times),
            frames_per_unit=self.frames_per_group,
            tokens=tuple(
                min(self.frames_per_group, len(times) - start) * self.tokens_per_frame
                for start in starts
            ),
            seconds=tuple(times[start] for start in starts),
            duration=duration,
        )

    def frames(self, frames: Frames, times: Times, duration: float | None = None) -> ModelFrames:
        name = type(self).__name__
        frames = checked_frames(frames, name)
        seconds = checked_times(times, len(frames), name)
        shown = repeat_to_groups(len(frames), self.frames_per_group)
        repeated = frames[torch.from_numpy(shown)]
        return super().frames(repeated, [seconds[i] for i in shown], duration)
