"""Qwen3-VL, dense and mixture of experts: two frames a patch, a timestamp before each, features
for the first layers of the decoder too (DeepStack), M-RoPE with interleaved sections."""

from __future__ import annotations

from typing import Any

import torch

from .family import flat, shaped_like
from .grids import GridFamily


class Qwen3VL(GridFamily):
    model_type = "qwen3_vl"
    class_name = "Qwen3VLForConditionalGeneration"
    mrope = "interleaved"
    text_between_frames = True
    text_per_unit = 10  # "<12.5 seconds>", and the tokens around a patch

    def rows_of(self, output: Any) -> list[torch.Tensor]:
        if isinstance(output, tuple):  # 4.57: (features by video, one tensor a layer)
            videos, layers = output
            return [flat(videos), *layers]
        return super().rows_of(output)

    def output_like(self, output: Any, videos: list[list[torch.Tensor]]) -> Any:
        if not isinstance(output, tuple):
            return super().output_like(output, videos)
        main, *deeper = zip(*videos, strict=True)
        return shaped_like(output[0], list(main)), [torch.cat(layer) for layer in deeper]


class Qwen3VLMoe(Qwen3VL):
    model_type = "qwen3_vl_moe"
    class_name = "Qwen3VLMoeForConditionalGeneration"
