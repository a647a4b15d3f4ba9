"""Drawn frames as the model gets them."""

from __future__ import annotations

import numpy as np
import torch

from ...model_files import CLIP_MEAN, CLIP_STD

_NOISE = 6.0  # of 255: what a video file does to small frames


def noisy_pixels(frames: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """float32 ``[B, T, 3, H, W]``, normalized, of ``[B, T, H, W, 3]`` in 0..255."""
    pixels = torch.from_numpy(frames)
    pixels += torch.from_numpy(rng.standard_normal(frames.shape, dtype=np.float32)) * _NOISE
    pixels = (pixels.clamp_(0, 255) / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    return pixels.permute(0, 1, 4, 2, 3).contiguous()
