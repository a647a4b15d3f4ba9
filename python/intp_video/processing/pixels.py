"""uint8 frames are resized and normalized as torchvision would, in torch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import ModelError
from .values import channels, is_number, wrong

CLIP = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
}
HALF = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)}
BICUBIC, LANCZOS = 3, 1  # PIL's codes
RESAMPLE = {0: "nearest", LANCZOS: "lanczos", 2: "bilinear", BICUBIC: "bicubic"}

_CHUNK = 16  # frames worked on at once: bounds memory on long clips


@dataclass(frozen=True)
class PixelValues:
    """What becomes of a pixel, whatever the size of the frame.

    Attributes:
        resample: "bicubic", "bilinear", "lanczos" or "nearest".
        rescale: factor on the uint8 values, usually 1/255.
        mean, std: per channel, after rescaling.
    """

    resample: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_values(cls, values: Mapping[str, Any], source: str) -> PixelValues:
        """From entries of preprocessor_config.json (``resample``, ``image_mean``...).

        Raises:
            ModelError: a value makes no sense.
        """
        resample = values.get("resample", BICUBIC)
        if isinstance(resample, bool) or resample not in list(RESAMPLE):
            raise wrong(source, "resample", f"one of {', '.join(map(str, RESAMPLE))}", resample)
        rescale = values.get("rescale_factor", 1 / 255)
        if not is_number(rescale) or rescale <= 0:
            raise wrong(source, "rescale_factor", "a finite number above 0", rescale)
        mean = channels(values, "image_mean", source)
        std = channels(values, "image_std", source, least=1e-12)
        if not values.get("do_rescale", True):
            rescale = 1.0
        if not values.get("do_normalize", True):
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return cls(RESAMPLE[resample], float(rescale), mean, std)

    def resize(self, pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """uint8 ``[T, 3, H, W]`` -> uint8 ``[T, 3, *size]``.

        Raises:
            ModelError: this torch lacks the filter.
        """
        if size == pixels.shape[-2:]:
            return pixels
        try:  # in uint8, like PIL, which rounds between the horizontal and the vertical pass
            return F.interpolate(
                pixels, size, mode=self.resample, antialias=self.resample != "nearest"
            )
        except NotImplementedError as error:
            raise ModelError(
                f"resample: expected a filter of torch {torch.__version__}, got "
                f"{self.resample!r}; a newer torch has it"
            ) from error

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 ``[T, 3, H, W]`` -> float32: ``(pixels * rescale - mean) / std``.

        Mean and deviation are scaled instead of the pixels, as transformers does it: a threshold
        on differences of pixels then decides the same.
        """
        scale = 1.0 / self.rescale
        mean = torch.tensor(self.mean).view(3, 1, 1) * scale
        std = torch.tensor(self.std).view(3, 1, 1) * scale
        return pixels.to(torch.float32).sub_(mean).div_(std)


def checked_frames(frames: np.ndarray | torch.Tensor, caller: str) -> torch.Tensor:
    """uint8 ``[T, H, W, 3]`` as a tensor.

    Raises:
        TypeError: not uint8.
        ValueError: not ``[T, H, W, 3]``.
    """
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8:
        raise TypeError(f"{caller}: frames: expected uint8, got {frames.dtype}")
    if frames.dim() != 4 or frames.shape[-1] != 3:
        raise ValueError(f"{caller}: frames: expected [T, H, W, 3], got {list(frames.shape)}")
    return frames


def chunks(frames: torch.Tensor, multiple: int = 1) -> Iterator[tuple[int, torch.Tensor]]:
    """Some frames at a time, uint8 ``[t, 3, H, W]``, and where the first of them stands.

    Args:
        frames: uint8 ``[T, H, W, 3]``.
        multiple: of t, except at the end.
    """
    step = max(1, _CHUNK // multiple) * multiple
    for start in range(0, len(frames), step):
        yield start, frames[start : start + step].permute(0, 3, 1, 2)
