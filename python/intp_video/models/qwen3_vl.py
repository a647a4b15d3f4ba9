"""Qwen3-VL, dense and mixture of experts: two frames a patch, a timestamp before each, features
for the first layers of the decoder too (DeepStack), M-RoPE with interleaved sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import compat
from ..errors import ModelError
from .family import flat, shaped_like
from .grids import GridFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3VL(GridFamily):
    model_type = "qwen3_vl"
    class_name = "Qwen3VLForConditionalGeneration"
    mrope = "interleaved"
    text_between_frames = True
    text_per_unit = 10  # "<12.5 seconds>", and the tokens around a patch

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        if self.text_between_frames and not compat.takes_text_between_patches():
            raise ModelError(
                f"model type {self.model_type!r} needs another transformers than "
                f"{compat.transformers_version()}, which cannot count the positions of a video "
                "with text between its patches of time"
            )
        return super().multimodal_module(model)

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
