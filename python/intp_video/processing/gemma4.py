"""Gemma 4: a time before the placeholders of each frame, patches padded to one number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .. import compat
from .base import Frames, Times, VideoProcessing, checked_times
from .model_frames import ModelFrames, Units
from .pixels import BICUBIC, PixelValues, checked_frames, chunks
from .prompt import special_token
from .sizes import patch_budget_size
from .values import expect, whole


@dataclass(frozen=True, kw_only=True)
class Gemma4Processing(VideoProcessing):
    """``pixel_values_videos`` float32 ``[F, most, 3 * patch * patch]``, zeros after a frame's own
    patches; ``video_position_ids`` int64 ``[F, most, 2]``, column and row, -1 there;
    ``num_frames_per_video`` int64 ``[1]``. Older releases of transformers take the first two with
    one more dimension, of videos, and no number. One frame is a unit.

    Attributes:
        pixels: what becomes of a pixel.
        patch_size: pixels of a patch, in each direction.
        pooling_kernel_size: patches that become one token, in each direction.
        max_soft_tokens: the most tokens of a frame.
    """

    pixels: PixelValues
    patch_size: int
    pooling_kernel_size: int
    max_soft_tokens: int

    model_types = ("gemma4",)
    token_types = True
    defaults: ClassVar[Mapping[str, Any]] = {
        "image_mean": (0.0, 0.0, 0.0),
        "image_std": (1.0, 1.0, 1.0),
        "resample": BICUBIC,
        "patch_size": 16,
        "pooling_kernel_size": 3,
        "max_soft_tokens": 70,
    }

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        expect(values, "do_resize", True, source)
        names = ("patch_size", "pooling_kernel_size", "max_soft_tokens")
        numbers = {name: whole(values, name, source) for name in names}
        return {"pixels": PixelValues.from_values(values, source), **numbers}

    @property
    def frames_per_unit(self) -> int:
        return 1

    @property
    def most(self) -> int:
        """The most patches of a frame."""
        return self.max_soft_tokens * self.pooling_kernel_size**2

    def units(
        self,
        count: int,
        height: int,
        width: int,
        times: Times,
        duration: float | None = None,
    ) -> Units:
        seconds = checked_times(times, count, type(self).__name__)
        high, wide = self._patches(height, width)
        tokens = high * wide // self.pooling_kernel_size**2
        return Units(
            count, 1, (tokens,) * count, tuple(seconds), duration, grid=(count, high, wide)
        )

    def _patches(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of a frame of that size."""
        high, wide = patch_budget_size(
            height, width, self.patch_size, self.most, self.pooling_kernel_size
        )
        return high // self.patch_size, wide // self.patch_size

    def frames(self, frames: Frames, times: Times, duration: float | None = None) -> ModelFrames:
        frames = checked_frames(frames, type(self).__name__)
        count, height, width, _ = frames.shape
        units = self.units(count, height, width, times, duration)
        high, wide = self._patches(height, width)
        patch = self.patch_size
        rows = torch.zeros((count, self.most, 3 * patch**2))
        for start, pixels in chunks(frames):
            pixels = self.pixels.normalize(self.pixels.resize(pixels, (high * patch, wide * patch)))
            cut = pixels.reshape(-1, 3, high, patch, wide, patch).permute(0, 2, 4, 3, 5, 1)
            rows[start : start + len(pixels), : high * wide] = cut.flatten(3).flatten(1, 2)
        positions = torch.full((count, self.most, 2), -1)
        row, column = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        positions[:, : high * wide] = torch.stack((column, row), dim=-1).flatten(0, 1)
        tensors = {"pixel_values_videos": rows, "video_position_ids": positions}
        if compat.gemma4_counts_frames():
            tensors["num_frames_per_video"] = torch.tensor([count])
        else:
            tensors = {name: tensor[None] for name, tensor in tensors.items()}
        return ModelFrames(tensors, units)

    def _marker(self, placeholder: str, tokenizer: Any) -> str:
        return special_token(tokenizer, "video_token", "<|video|>")

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        start = special_token(tokenizer, "boi_token", "<|image>")
        end = special_token(tokenizer, "eoi_token", "<image|>")
        frames = []
        for second in units.seconds:
            minutes, seconds = divmod(int(second), 60)
            frames.append(f"{minutes:02d}:{seconds:02d} {start}{placeholder}{end}")
        return " ".join(frames), units.tokens
