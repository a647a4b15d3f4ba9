"""Families that keep the shape of frames and cut them into a grid of patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .base import Frames, Times, VideoProcessing, checked_times
from .model_frames import ModelFrames, Units
from .patches import patchify
from .pixels import PixelValues, checked_frames, chunks
from .sizes import Size
from .values import expect, sides, whole, wrong


@dataclass(frozen=True, kw_only=True)
class GridProcessing(VideoProcessing):
    """``pixel_values_videos`` float32 ``[n, 3 * depth * patch * patch]`` and ``video_grid_thw``
    int64 ``[1, 3]``. A unit is a temporal patch; the last frame is repeated until it is whole.

    Attributes:
        pixels: what becomes of a pixel.
        patch_size: pixels of a patch, in each direction.
        merge_size: patches that become one token, in each direction.
        temporal_patch_size: frames of a patch.
        least, most: pixels, of what the family's rule counts.
        sized_for: frames of the whole video, where those given are a part of it; None: they are it.
    """

    pixels: PixelValues
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    least: int
    most: int
    sized_for: int | None = None

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        expect(values, "do_resize", True, source)
        expect(values, "cap_pixels_per_frame", False, source)
        size = sides(values, "size", source)
        if not {"shortest_edge", "longest_edge"} <= size.keys():
            raise wrong(source, "size", "shortest_edge and longest_edge", values["size"])
        return {
            "pixels": PixelValues.from_values(values, source),
            **{
                name: whole(values, name, source)
                for name in ("patch_size", "merge_size", "temporal_patch_size")
            },
            "least": size["shortest_edge"],
            "most": size["longest_edge"],
        }

    @abstractmethod
    def size(self, count: int, height: int, width: int) -> Size:
        """What so many frames of that size are resized to."""

    def _patches(self, count: int, height: int, width: int) -> tuple[int, int]:
        """Of a frame: down, and across."""
        high, wide = self.size(self.sized_for or count, height, width)
        return high // self.patch_size, wide // self.patch_size

    @property
    def frames_per_unit(self) -> int:
        return self.temporal_patch_size

    def units(
        self,
        count: int,
        height: int,
        width: int,
        times: Times,
        duration: float | None = None,
    ) -> Units:
        seconds = checked_times(times, count, type(self).__name__)
        seconds += seconds[-1:] * (-count % self.temporal_patch_size)
        high, wide = self._patches(count, height, width)
        deep = len(seconds) // self.temporal_patch_size
        return Units(
            frames=len(seconds),
            frames_per_unit=self.temporal_patch_size,
            tokens=(high * wide // self.merge_size**2,) * deep,
            seconds=tuple(
                self._second(seconds[start : start + self.temporal_patch_size])
                for start in range(0, len(seconds), self.temporal_patch_size)
            ),
            duration=duration,
            grid=(deep, high, wide),
        )

    def _second(self, times: Sequence[float]) -> float:
        """The time of a unit whose frames have these times."""
        return times[0]

    def frames(self, frames: Frames, times: Times, duration: float | None = None) -> ModelFrames:
        frames = checked_frames(frames, type(self).__name__)
        count, height, width, _ = frames.shape
        if count == 0:
            raise ValueError(f"{type(self).__name__}: frames: expected at least one, got none")
        units = self.units(count, height, width, times, duration)
        if missing := units.frames - count:
            frames = torch.cat((frames, frames[-1:].expand(missing, -1, -1, -1)))
        high, wide = self._patches(count, height, width)
        deep = len(units.tokens)
        rows = torch.empty((deep * high * wide, 3 * self.temporal_patch_size * self.patch_size**2))
        for start, pixels in chunks(frames, self.temporal_patch_size):
            pixels = self.pixels.resize(pixels, (high * self.patch_size, wide * self.patch_size))
            cut = patchify(
                self.pixels.normalize(pixels),
                self.patch_size,
                self.merge_size,
                self.temporal_patch_size,
            )
            first = start // self.temporal_patch_size * high * wide
            rows[first : first + len(cut)] = cut
        tensors = {"pixel_values_videos": rows, "video_grid_thw": torch.tensor([units.grid])}
        return self._finished(ModelFrames(tensors, units), times)

    def _finished(self, made: ModelFrames, times: Times) -> ModelFrames:
        """With what the family's model takes besides rows and grid."""
        return made
