"""Gemma 4: patches of each frame, padded to one number, over a decoder of which most layers slide.

Layers that see everything have wider heads and frequencies of their own, of which most do not turn.
These alone are stretched: the others never leave their sliding window. In small models the last
layers read the keys of earlier ones.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from .. import compat
from ..decoder_layers import cached_windows
from ..errors import ModelError
from .family import ASSUMED_SIDE, Layout, VideoFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 70
"""The most tokens of a frame, by the defaults of its processor; the config does not say it."""
TEXT_PER_FRAME = 8  # "01:23 ", a token each, and the two around a frame


class Gemma4(VideoFamily):
    model_type = "gemma4"
    class_name = "Gemma4ForConditionalGeneration"
    text_between_frames = True
    rope_by_layer = True
    makes_masks = True

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        if not any(cached_windows(model.config.text_config)):
            raise ModelError(
                f"model type {self.model_type!r} needs a newer transformers than "
                f"{compat.transformers_version()}, whose cache does not know layers that slide"
            )
        return super().multimodal_module(model)

    def layout(
        self, config: Any, frames: int, height: int = ASSUMED_SIDE, width: int = ASSUMED_SIDE
    ) -> Layout:
        vision = config.vision_config
        if vision is None:
            raise ModelError(f"this {self.model_type} has no vision_config: it takes no videos")
        rows, columns = (
            max(1, math.floor(math.sqrt(TOKENS * side / other)))
            for side, other in ((height, width), (width, height))
        )
        tokens = frames * (rows * columns + TEXT_PER_FRAME)
        patches = TOKENS * vision.pooling_kernel_size**2  # padded
        values = frames * patches * vision.patch_size**2 * 3
        return Layout(rows * columns, frames * rows * columns, tokens, tokens, values)

    def cached_heads(self, config: Any, place: int) -> tuple[int, int]:
        return compat.gemma4_cached_heads(config.text_config, place)

    def sees_both_ways(self, config: Any) -> bool:
        return config.text_config.use_bidirectional_attention is not None

    def units(self, arguments: dict[str, Any]) -> list[int]:
        pixels, numbers = next(iter(arguments.values())), arguments.get("num_frames_per_video")
        if numbers is None:  # a dimension of videos
            return [pixels.shape[1]] * len(pixels)
        if int(numbers.sum()) != len(pixels):
            raise ValueError(
                f"{self.pixels}: expected the {int(numbers.sum())} frames of num_frames_per_video, "
                f"got {list(pixels.shape)}"
            )
        return numbers.tolist()

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        numbers = arguments.get("num_frames_per_video")
        taken = dict(arguments)
        for name in (next(iter(arguments)), "video_position_ids"):
            given = arguments[name]
            if numbers is None:
                taken[name] = given[video][groups.to(given.device)]
            else:
                begin = int(numbers[:video].sum())
                taken[name] = given[(begin + groups.flatten()).to(given.device)]
        if numbers is not None:
            count, length = groups.shape
            taken["num_frames_per_video"] = numbers.new_full((count,), length)
        return taken

    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        places = arguments["video_position_ids"].flatten(0, -3)
        patches = (places != -1).all(-1).sum(-1)  # of each frame
        tokens = patches // config.vision_config.pooling_kernel_size**2
        units = self.units({self.pixels: arguments[self.pixels], **arguments})
        return [int(frames.amax()) if len(frames) else 0 for frames in tokens.split(units)]
