"""VideoLLaMA 3: a time before the placeholders of each frame; what does not change is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch

from .base import Times
from .grid import GridProcessing
from .model_frames import ModelFrames, Units
from .pixels import BICUBIC, HALF
from .qwen2_vl import with_pixel_bounds
from .sizes import Size, smart_size

_CHANGED = 0.1  # mean difference of a token's pixels, times 255, above which it is shown


@dataclass(frozen=True, kw_only=True)
class VideoLlama3Processing(GridProcessing):
    """With ``video_merge_sizes`` int64 ``[1]`` and ``video_compression_mask`` bool ``[tokens]``,
    which tokens are shown. :meth:`units` counts all of them.

    Attributes:
        compresses: whether tokens are left out.
    """

    compresses: bool

    model_types = ("video_llama_3",)
    defaults: ClassVar[Mapping[str, Any]] = {
        **HALF,
        "resample": BICUBIC,
        "size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28},
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 1,
        "use_token_compression": True,
    }

    @classmethod
    def _fields(cls, values: Mapping[str, Any], config: Any, source: str) -> dict[str, Any]:
        fields = super()._fields(with_pixel_bounds(values, source), config, source)
        return {**fields, "compresses": bool(values["use_token_compression"])}

    def size(self, count: int, height: int, width: int) -> Size:
        factor = self.patch_size * self.merge_size
        return smart_size(height, width, factor, self.least, self.most // count)

    def _finished(self, made: ModelFrames, times: Times) -> ModelFrames:
        units = made.units
        kept = torch.ones((len(units.tokens), units.tokens[0]), dtype=torch.bool)
        if self.compresses:
            kept[1:] = _changed(made.tensors["pixel_values_videos"].view(*kept.shape, -1))
        more = {
            "video_merge_sizes": torch.tensor([self.merge_size]),
            "video_compression_mask": kept.flatten(),
        }
        tokens = tuple(kept.sum(dim=1).tolist())
        return ModelFrames({**made.tensors, **more}, replace(units, tokens=tokens))

    def _video_text(
        self, units: Units, placeholder: str, tokenizer: Any
    ) -> tuple[str, Sequence[int]]:
        frames = (f"Time {second:.1f}s:{placeholder}" for second in units.seconds)
        return ",".join(frames), units.tokens


def _changed(pixels: torch.Tensor) -> torch.Tensor:
    """Which tokens of a frame differ from the frame before, and the first where none does.

    Args:
        pixels: ``[T, P, C]``, C of each token.

    Returns:
        bool ``[T - 1, P]``.
    """
    changed = torch.zeros((len(pixels) - 1, pixels.shape[1]), dtype=torch.bool)
    for row, (before, after) in zip(changed, pairwise(pixels), strict=True):
        row[:] = (after - before).abs().mean(dim=-1) * 255 > _CHANGED
    changed[:, 0] |= ~changed.any(dim=1)
    return changed
