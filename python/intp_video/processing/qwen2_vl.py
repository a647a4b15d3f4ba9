"""Qwen2-VL, Qwen2.5-VL and what shares their processor: one unbroken run of placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .base import Times
from .grid import GridProcessing
from .model_frames import ModelFrames
from .pixels import BICUBIC, CLIP
from .sizes import Size, smart_size
from .values import sides


def with_pixel_bounds(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """With ``min_pixels`` and ``max_pixels``, as older checkpoints tell them, in ``size``."""
    given = {"shortest_edge": values.get("min_pixels"), "longest_edge": values.get("max_pixels")}
    given = {edge: pixels for edge, pixels in given.items() if pixels is not None}
    return {**values, "size": {**sides(values, "size", source), **given}}


@dataclass(frozen=True, kw_only=True)
class Qwen2VlProcessing(GridProcessing):
    """The bounds are of one frame."""

    model_types = ("qwen2_vl",)
    token_types = True
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        return super()._fields(with_pixel_bounds(values, source), config, source)

    def size(self, count: int, height: int, width: int) -> Size:
        factor = self.patch_size * self.merge_size
        return smart_size(height, width, factor, self.least, self.most)


@dataclass(frozen=True, kw_only=True)
class Exaone45Processing(Qwen2VlProcessing):
    """EXAONE 4.5: positions are counted, as in text."""

    model_types = ("exaone4_5",)
    token_types = False


@dataclass(frozen=True, kw_only=True)
class Qwen25VlProcessing(Qwen2VlProcessing):
    """With ``second_per_grid_ts`` float32 ``[1]``: the seconds that a unit lasts."""

    model_types = ("qwen2_5_vl",)
    seconds_named: ClassVar[str] = "second_per_grid_ts"

    def _finished(self, made: ModelFrames, times: Times) -> ModelFrames:
        seconds = self.temporal_patch_size * _spacing(times, made.units.duration)
        made.tensors[self.seconds_named] = torch.tensor([seconds], dtype=torch.float32)
        return made


@dataclass(frozen=True, kw_only=True)
class Qwen25OmniProcessing(Qwen25VlProcessing):
    """The thinker of Qwen2.5-Omni, for the pictures of a video; its sound is not heard.

    The size does not depend on the checkpoint.
    """

    model_types = ("qwen2_5_omni_thinker",)
    token_types = False
    seconds_named = "video_second_per_grid"
    fixed_size: ClassVar[Mapping[str, int]] = {
        "shortest_edge": 128 * 28 * 28,
        "longest_edge": 768 * 28 * 28,
    }

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        bounds = {"min_pixels": None, "max_pixels": None, "size": cls.fixed_size}
        return super()._fields({**values, **bounds}, config, source)


@dataclass(frozen=True, kw_only=True)
class Qwen3OmniProcessing(Qwen25OmniProcessing):
    """The thinker of Qwen3-Omni, likewise."""

    model_types = ("qwen3_omni_moe_thinker",)
    fixed_size: ClassVar[Mapping[str, int]] = {
        "shortest_edge": 128 * 32 * 32,
        "longest_edge": 768 * 32 * 32,
    }


def _spacing(times: Times, duration: float | None) -> float:
    """Seconds from a frame to the next; for one alone it decides nothing."""
    if duration is not None:
        return duration / len(times)
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0
