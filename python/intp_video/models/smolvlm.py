"""SmolVLM and SmolVLM2: SigLIP on each frame, neighbouring patches joined into one token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .family import uncompiled
from .frames import side_in_patches
from .images import ImageFrameFamily

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SmolVLM(ImageFrameFamily):
    model_type = "smolvlm"
    class_name = "SmolVLMForConditionalGeneration"
    text_per_frame = 14  # "Frame from 00:01:" and the tokens around an image

    def text_model(self, model: PreTrainedModel) -> PreTrainedModel:
        return uncompiled(self.multimodal_module(model).text_model)

    def tokens_per_frame(self, config: Any) -> int:
        return side_in_patches(config.vision_config) ** 2 // config.scale_factor**2

    def units(self, arguments: dict[str, Any]) -> list[int]:
        pixels = next(iter(arguments.values()))
        if pixels.dim() != 5:
            raise ValueError(
                f"{self.pixels}: expected [batch, frames, 3, height, width], got "
                f"{list(pixels.shape)}"
            )
        return [len(real) for real in self._real_frames(pixels)]

    def take(self, arguments: dict[str, Any], video: int, groups: torch.Tensor) -> dict[str, Any]:
        name, pixels = next(iter(arguments.items()))
        frames = self._real_frames(pixels)[video][groups.to(pixels.device)]  # [g, n]
        taken = {**arguments, name: pixels[video][frames]}
        mask = arguments.get("pixel_attention_mask")
        if mask is not None:
            taken["pixel_attention_mask"] = mask[video][frames]
        return taken

    def _real_frames(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The frames of each row that are not all zero: the model drops those, as padding."""
        real = (pixels != 0).flatten(2).any(-1)
        real[0, 0] |= ~real.any()  # it keeps one
        return [row.nonzero()[:, 0] for row in real]
