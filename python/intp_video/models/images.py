"""Families that take the frames of a video as images."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from .family import ASSUMED_SIDE, Layout, VideoFamily


class ImageFrameFamily(VideoFamily):
    """P tokens of each frame, with text between the frames (their number, or their time)."""

    encoder = "get_image_features"
    pixels = "pixel_values"
    modality = "image"
    text_between_frames = True
    text_per_frame: int

    @abstractmethod
    def tokens_per_frame(self, config: Any) -> int:
        """P."""

    def layout(
        self, config: Any, frames: int, height: int = ASSUMED_SIDE, width: int = ASSUMED_SIDE
    ) -> Layout:
        per_frame = self.tokens_per_frame(config)
        tokens = frames * (per_frame + self.text_per_frame)
        size = config.vision_config.image_size
        rows, columns = (size, size) if isinstance(size, int) else size
        values = frames * 3 * rows * columns
        return Layout(per_frame, frames * per_frame, tokens, tokens, values)

    def placeholder_id(self, config: Any) -> int:
        return config.image_token_id

    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        return [self.tokens_per_frame(config)]
