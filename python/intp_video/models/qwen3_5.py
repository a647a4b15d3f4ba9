"""Qwen3.5, dense and mixture of experts: as Qwen3-VL without DeepStack, over a decoder of which
most layers are recurrent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import compat
from ..errors import ModelError
from .grids import GridFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3_5(GridFamily):
    model_type = "qwen3_5"
    class_name = "Qwen3_5ForConditionalGeneration"
    mrope = "interleaved"
    text_between_frames = True
    text_per_unit = 10  # "<12.5 seconds>", and the tokens around a patch

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        if not compat.caches_recurrent_layers():
            raise ModelError(
                f"model type {self.model_type!r} needs a newer transformers than "
                f"{compat.transformers_version()}, in which its cache is not one of layers"
            )
        return super().multimodal_module(model)


class Qwen3_5Moe(Qwen3_5):
    model_type = "qwen3_5_moe"
    class_name = "Qwen3_5MoeForConditionalGeneration"
