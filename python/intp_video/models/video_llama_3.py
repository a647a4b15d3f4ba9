"""VideoLLaMA 3: frames of any size, attention inside each, tokens that did not change dropped."""

from __future__ import annotations

from typing import Any

import torch

from .grids import GridFamily


class VideoLlama3(GridFamily):
    model_type = "video_llama_3"
    class_name = "VideoLlama3ForConditionalGeneration"
    text_between_frames = True
    text_per_unit = 6  # "Time 1.0s:" before each, a comma behind

    def merge(self, config: Any) -> int:
        return 2  # of videos, whatever that of images is: the processor says it at every call

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        taken = super().take(arguments, video, groups)
        sizes = arguments["video_merge_sizes"]
        taken["video_merge_sizes"] = sizes[video].expand(len(groups))
        return taken

    def tokens_per_unit(self, config: Any, arguments: dict[str, Any]) -> list[int]:
        grids = arguments["video_grid_thw"].tolist()
        sizes = arguments["video_merge_sizes"].tolist()
        return [
            rows * columns // merge**2
            for (_, rows, columns), merge in zip(grids, sizes, strict=True)
        ]

    def merged_rows(self, arguments: dict[str, Any]) -> int | None:
        kept = arguments.get("video_compression_mask")
        return None if kept is None else int(kept.sum())
