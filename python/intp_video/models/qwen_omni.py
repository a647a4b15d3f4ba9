"""The thinkers of Qwen2.5-Omni and Qwen3-Omni, for the pictures of a video; its sound is not heard.

As Qwen2.5-VL and as Qwen3-VL, with all frames in one run and positions in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import compat
from .family import uncompiled
from .grids import GridFamily
from .qwen3_vl import Qwen3VL

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen2_5OmniThinker(GridFamily):
    model_type = "qwen2_5_omni_thinker"
    class_name = "Qwen2_5OmniThinkerForConditionalGeneration"
    mrope = "contiguous"

    def multimodal_module(self, model: PreTrainedModel) -> PreTrainedModel:
        if compat.merges_features_itself(model, self.encoder):
            return model
        return super().multimodal_module(model)

    def text_model(self, model: PreTrainedModel) -> PreTrainedModel:
        module = self.multimodal_module(model)
        return uncompiled(module.model if module is model else module.language_model)

    def positions_per_unit(self, config: Any) -> int:
        return config.position_id_per_seconds


class Qwen3OmniThinker(Qwen2_5OmniThinker, Qwen3VL):
    model_type = "qwen3_omni_moe_thinker"
    class_name = "Qwen3OmniMoeThinkerForConditionalGeneration"
    mrope = "interleaved"
    text_between_frames = False
    text_per_unit = 0
