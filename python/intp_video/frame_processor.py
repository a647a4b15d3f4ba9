"""Frames to pixel values as the checkpoint's own processor would, in torch alone.

transformers' video processors need torchvision; resizing and normalizing do not.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .errors import ModelError

FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
CHUNK = 16  # frames resized at once: bounds memory on long clips
RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's codes


@dataclass(frozen=True)
class FrameProcessor:
    """Resize, center crop, rescale, normalize: the values of a checkpoint's preprocessor.

    Attributes:
        height, width: of the result, pixels.
        shortest_edge: resize so that the shorter side has this many pixels, then crop; None:
            resize to height x width directly.
        resample: "bicubic", "bilinear" or "nearest".
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
        """Read the first of ``FILES`` that holds image statistics.

        Raises:
            ModelError: none of them exists, is JSON and has the values.
        """
        for name in FILES:
            path = Path(directory) / name
            if not path.is_file():
                continue
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise ModelError(f"{path}: not valid JSON: {error}") from error
            if isinstance(values, dict):
                values = values.get("video_processor", values.get("image_processor", values))
            if not isinstance(values, dict):
                raise ModelError(f"{path}: expected a JSON object, got {type(values).__name__}")
            if "image_mean" in values:
                return cls.from_values(values, str(path))
        raise ModelError(
            f"{directory}: expected one of {', '.join(FILES)} with image_mean, found none"
        )

    @classmethod
    def from_values(cls, values: dict[str, Any], source: str = "processor") -> FrameProcessor:
        """From entries of preprocessor_config.json (``size``, ``crop_size``, ``image_mean``...)."""
        size = _sides(values, "size", source)
        shortest = size.get("shortest_edge")
        crop = {}
        if values.get("do_center_crop", True) and values.get("crop_size"):
            crop = _sides(values, "crop_size", source)
        height = crop.get("height") or size.get("height") or shortest
        width = crop.get("width") or size.get("width") or shortest
        if height is None or width is None:
            raise _wrong(source, "size", "shortest_edge, or height and width", values["size"])
        if "height" in size:
            shortest = None
        resample = values.get("resample", 3)
        if isinstance(resample, bool) or resample not in list(RESAMPLE):
            raise _wrong(source, "resample", f"one of {', '.join(map(str, RESAMPLE))}", resample)
        rescale = values.get("rescale_factor", 1 / 255)
        if not _is_number(rescale):
            raise _wrong(source, "rescale_factor", "a finite number", rescale)
        return cls(
            height=height,
            width=width,
            shortest_edge=shortest,
            resample=RESAMPLE[resample],
            rescale=float(rescale),
            mean=_channels(values, "image_mean", source),
            std=_channels(values, "image_std", source, least=1e-12),
        )

    def __call__(self, frames: np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 ``[T, H, W, 3]`` RGB -> float32 ``[T, 3, height, width]``.

        Raises:
            TypeError: not uint8.
            ValueError: not ``[T, H, W, 3]``.
        """
        frames = torch.as_tensor(frames)
        if frames.dtype != torch.uint8:
            raise TypeError(f"FrameProcessor: frames: expected uint8, got {frames.dtype}")
        if frames.dim() != 4 or frames.shape[-1] != 3:
            raise ValueError(
                f"FrameProcessor: frames: expected [T, H, W, 3], got {list(frames.shape)}"
            )
        result = torch.empty((len(frames), 3, self.height, self.width))
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        for start in range(0, len(frames), CHUNK):
            pixels = self._resize(frames[start : start + CHUNK].permute(0, 3, 1, 2))
            result[start : start + CHUNK] = (self._crop(pixels).float() * self.rescale - mean) / std
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
    def _size(self) -> tuple[int, int]:
        return self.height, self.width

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before the crop."""
        if self.shortest_edge is None:
            return self._size
        if height <= width:
            return self.shortest_edge, int(self.shortest_edge * width / height)
        return int(self.shortest_edge * height / width), self.shortest_edge

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        size = self._resized(*pixels.shape[-2:])
        if size == pixels.shape[-2:]:
            return pixels
        # in uint8, like PIL, which rounds between the horizontal and the vertical pass
        return F.interpolate(pixels, size, mode=self.resample, antialias=self.resample != "nearest")

    def _crop(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        short_h, short_w = max(self.height - height, 0), max(self.width - width, 0)
        if short_h or short_w:  # as transformers' center_crop: zeros around what is too small
            top, left = -(-short_h // 2), -(-short_w // 2)
            pixels = F.pad(pixels, (left, short_w - left, top, short_h - top))
            height, width = pixels.shape[-2:]
        top, left = (height - self.height) // 2, (width - self.width) // 2
        return pixels[..., top : top + self.height, left : left + self.width]


def _sides(values: dict[str, Any], name: str, source: str) -> dict[str, int]:
    """Pixels by the name of the side; a number alone is the shortest edge."""
    given: Any = values.get(name)
    try:
        sides = {"shortest_edge": given} if _is_number(given) else dict(given)  # or a SizeDict
    except (TypeError, ValueError):
        sides = {}
    sides = {side: pixels for side, pixels in sides.items() if pixels is not None}
    if not sides:
        raise _wrong(source, name, "pixels by side", given)
    for pixels in sides.values():
        if not _is_number(pixels) or pixels != int(pixels) or pixels < 1:
            raise _wrong(source, name, "whole pixels, at least 1", given)
    return {side: int(pixels) for side, pixels in sides.items()}


def _channels(
    values: dict[str, Any], name: str, source: str, least: float = -math.inf
) -> tuple[float, float, float]:
    """A number for each of red, green and blue."""
    given = values.get(name)
    if (
        not isinstance(given, list | tuple)
        or len(given) != 3
        or not all(_is_number(value) and value >= least for value in given)
    ):
        above = " above 0" if least > 0 else ""
        raise _wrong(source, name, f"three numbers{above}", given)
    red, green, blue = map(float, given)
    return red, green, blue


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(source: str, name: str, expected: str, got: Any) -> ModelError:
    return ModelError(
        f"{source}: no complete preprocessor values: {name}: expected {expected}, got {got!r}"
    )
