"""GLM-4V, its mixture of experts and GLM-4.6V: two frames a patch, each patch an image to the
decoder, with its time behind it."""

from __future__ import annotations

from typing import Any

from .grids import GridFamily


class Glm4v(GridFamily):
    model_type = "glm4v"
    class_name = "Glm4vForConditionalGeneration"
    mrope = "contiguous"
    text_between_frames = True
    text_per_unit = 4  # the tokens around an image, and whole seconds

    def placeholder_id(self, config: Any) -> int:
        return config.image_token_id

    def shares_placeholder(self, arguments: dict[str, Any]) -> bool:
        encoded = arguments.get("mm_encoder_outputs") or {}
        return arguments.get("pixel_values") is not None or "image" in encoded

    def rotates_pairs(self, config: Any) -> bool:
        return config.text_config.model_type == "glm4v_text"


class Glm4vMoe(Glm4v):
    model_type = "glm4v_moe"
    class_name = "Glm4vMoeForConditionalGeneration"


class Glm46v(Glm4v):
    model_type = "glm46v"
    class_name = "Glm46VForConditionalGeneration"
    text_per_unit = 8  # "12.5 seconds"
