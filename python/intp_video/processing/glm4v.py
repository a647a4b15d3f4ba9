"""GLM-4V: each temporal patch stands as an image, followed by its time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .grid import GridProcessing
from .model_frames import Units
from .pixels import BICUBIC, CLIP
from .prompt import special_token
from .sizes import Size, smart_video_size


@dataclass(frozen=True, kw_only=True)
class Glm4vProcessing(GridProcessing):
    """The bounds are of all frames together; the placeholder is that of images."""

    model_types: ClassVar[tuple[str, ...]] = ("glm4v", "glm4v_moe")
    shown_as = "image"
    token_types = True
    defaults: ClassVar[Mapping[str, Any]] = {
        **CLIP,
        "resample": BICUBIC,
        "size": {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 30000},
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }

    def size(self, count: int, height: int, width: int) -> Size:
        factor = self.patch_size * self.merge_size
        return smart_video_size(
            count, height, width, self.temporal_patch_size, factor, self.least, self.most
        )

    def _marker(self, placeholder: str, tokenizer: Any) -> str:
        return special_token(tokenizer, "video_token", "<|video|>")

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        patches = (
            f"<|begin_of_image|>{placeholder}<|end_of_image|>{self._stamp(second)}"
            for second in units.seconds
        )
        return "".join(patches), units.tokens

    def _stamp(self, second: float) -> str:
        return str(int(second))


@dataclass(frozen=True, kw_only=True)
class Glm46vProcessing(Glm4vProcessing):
    """GLM-4.6V: the same with tenths of a second."""

    model_types: ClassVar[tuple[str, ...]] = ("glm46v",)

    def _stamp(self, second: float) -> str:
        return f"{second:.1f} seconds"
