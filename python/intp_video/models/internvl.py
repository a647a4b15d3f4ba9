"""InternVL: its own tower on each frame, pixels shuffled into fewer tokens."""

from __future__ import annotations

from typing import Any

import torch

from .images import ImageFrameFamily


class InternVL(ImageFrameFamily):
    model_type = "internvl"
    class_name = "InternVLForConditionalGeneration"
    frames_are_of_one_video = False
    text_per_frame = 6  # "Frame1: <img>" before it, "</img>" and a newline behind

    def tokens_per_frame(self, config: Any) -> int:
        return config.image_seq_length

    def units(self, arguments: dict[str, Any]) -> list[int]:
        pixels = next(iter(arguments.values()))
        if pixels.dim() != 4:
            raise ValueError(
                f"{self.pixels}: expected [frames of all videos, 3, height, width], got "
                f"{list(pixels.shape)}"
            )
        return [len(pixels)]

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        name, pixels = next(iter(arguments.items()))
        return {**arguments, name: pixels[groups.flatten().to(pixels.device)]}
