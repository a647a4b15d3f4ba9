"""Frames to pixel values of one size, as the checkpoint's own processor would, in torch alone.

transformers' video processors need torchvision; resizing and normalizing do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .pixels import PixelValues, checked_frames, chunks
from .sizes import Size, shortest_edge_size
from .values import read_values, sides, wrong


@dataclass(frozen=True)
class FrameProcessor:
    """Resize, center crop, rescale, normalize: the values of a checkpoint's preprocessor.

    Attributes:
        height, width: of the result, pixels.
        shortest_edge: resize so that the shorter side has this many pixels, then crop; None:
            resize to height x width directly.
        resample: "bicubic", "bilinear", "lanczos" or "nearest".
        rescale: factor on the uint8 values, usually 1/255.
        mean, std: per channel, after rescaling.
    """

    height: int
    width: int
    shortest_edge: int | None
    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_directory(cls, directory: str | Path) -> FrameProcessor:
        """Of a checkpoint's values, see :func:`~intp_video.processing.values.read_values`.

        Raises:
            ModelError: no file exists, is JSON and has the values.
        """
        return cls.from_values(*read_values(directory))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str = "processor") -> FrameProcessor:
        """From entries of preprocessor_config.json (``size``, ``crop_size``, ``image_mean``...)."""
        size = sides(values, "size", source)
        shortest = size.get("shortest_edge")
        crop = {}
        if values.get("do_center_crop", True) and values.get("crop_size"):
            crop = sides(values, "crop_size", source)
        height = crop.get("height") or size.get("height") or shortest
        width = crop.get("width") or size.get("width") or shortest
        if height is None or width is None:
            raise wrong(source, "size", "shortest_edge, or height and width", values["size"])
        if "height" in size:
            shortest = None
        pixels = PixelValues.from_values(values, source)
        return cls(height=height, width=width, shortest_edge=shortest, **vars(pixels))

    def __call__(self, frames: np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 ``[T, H, W, 3]`` RGB -> float32 ``[T, 3, height, width]``.

        Raises:
            TypeError: not uint8.
            ValueError: not ``[T, H, W, 3]``.
        """
        frames = checked_frames(frames, "FrameProcessor")
        values = PixelValues(self.resample, self.rescale, self.mean, self.std)
        size = self._resized(*frames.shape[1:3])
        result = torch.empty((len(frames), 3, self.height, self.width))
        for start, pixels in chunks(frames):
            pixels = self._crop(values.resize(pixels, size))
            result[start : start + len(pixels)] = values.normalize(pixels)
        return result

    def seen(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of a frame that survives the crop: left, top, right, bottom, in its pixels."""
        resized = self._resized(height, width)
        cut = [max(0.0, (have - keep) / 2) for have, keep in zip(resized, self._size, strict=True)]
        y, x = (
            c * side / have for c, side, have in zip(cut, (height, width), resized, strict=True)
        )
        return x, y, width - x, height - y

    @property
    def _size(self) -> Size:
        return self.height, self.width

    def _resized(self, height: int, width: int) -> Size:
        """Height and width before the crop."""
        if self.shortest_edge is None:
            return self._size
        return shortest_edge_size(height, width, self.shortest_edge)

    def _crop(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        short_h, short_w = max(self.height - height, 0), max(self.width - width, 0)
        if short_h or short_w:  # as transformers' center_crop: zeros around what is too small
            top, left = -(-short_h // 2), -(-short_w // 2)
            pixels = F.pad(pixels, (left, short_w - left, top, short_h - top))
            height, width = pixels.shape[-2:]
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return pixels[..., top : top + self.height, left : left + self.width]
