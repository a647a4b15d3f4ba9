"""Families whose encoder takes ``pixel_values_videos [V, F, 3, H, W]``."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from .family import ASSUMED_SIDE, Layout, VideoFamily


class FrameFamily(VideoFamily):
    """Frames of one size, P tokens of each, in one run of placeholders."""

    @abstractmethod
    def tokens_per_frame(self, config: Any) -> int:
        """P."""

    def layout(
        self, config: Any, frames: int, height: int = ASSUMED_SIDE, width: int = ASSUMED_SIDE
    ) -> Layout:
        per_frame = self.tokens_per_frame(config)
        tokens = frames * per_frame + self.surplus_tokens(config)
        values = frames * 3 * config.vision_config.image_size**2
        return Layout(per_frame, tokens, tokens, tokens, values)

    def placeholder_id(self, config: Any) -> int:
        return config.video_token_index

    def units(self, arguments: dict[str, Any]) -> list[int]:
        pixels = next(iter(arguments.values()))
        if pixels.dim() != 5:
            raise ValueError(
                f"{self.pixels}: expected [videos, frames, 3, height, width], got "
                f"{list(pixels.shape)}"
            )
        videos, frames = pixels.shape[:2]
        return [frames] * videos

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        name, pixels = next(iter(arguments.items()))
        return {**arguments, name: pixels[video][groups.to(pixels.device)]}

    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        return [self.tokens_per_frame(config)]

    def output_like(self, output: Any, videos: list[list[torch.Tensor]]) -> Any:
        """As ``[V, F * P, C]``, or in 4.57 one ``[F, P, C]`` for each video."""
        pooled = getattr(output, "pooler_output", output)
        if not isinstance(pooled, torch.Tensor):
            return super().output_like(output, videos)
        features = torch.stack([rows for (rows,) in videos])
        if pooled is output:
            return features
        output.pooler_output = features
        return output


def side_in_patches(vision_config: Any) -> int:
    """Patches along one side of a frame."""
    return vision_config.image_size // vision_config.patch_size
