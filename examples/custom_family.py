"""Extends a model that the package does not know: a family of your own, without a change to it.

    python examples/custom_family.py

The model stands for one from a repository of its own: a patch embedding as the encoder, a Llama as
the decoder, random weights. ``GlimpseFamily`` is all that the package has to be told.
"""

import inspect

import torch
from intp_video import extend
from intp_video.models import FAMILIES
from intp_video.models.frames import FrameFamily, side_in_patches
from torch import nn
from transformers import (
    CLIPVisionConfig,
    GenerationMixin,
    LlamaConfig,
    LlamaModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

VIDEO = 63  # the token that a feature of the video replaces
CACHE = (
    "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
)
"""What this transformers calls the cache; a model for one release names it."""


# ---- the model: what you have already ----


class GlimpseConfig(PretrainedConfig):
    model_type = "glimpse"
    sub_configs = {"text_config": LlamaConfig, "vision_config": CLIPVisionConfig}  # noqa: RUF012

    def __init__(self, text_config=None, vision_config=None, video_token_id=VIDEO, **kwargs):
        self.text_config = text_config or LlamaConfig()
        self.vision_config = vision_config or CLIPVisionConfig()
        self.video_token_id = video_token_id
        super().__init__(**kwargs)


class GlimpsePreTrainedModel(PreTrainedModel):
    config_class = GlimpseConfig
    _supports_sdpa = True
    _supports_attention_backend = True


class GlimpseModel(GlimpsePreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.language_model = LlamaModel(config.text_config)
        patch, width = config.vision_config.patch_size, config.text_config.hidden_size
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.post_init()

    def get_video_features(self, pixel_values_videos):
        """``[V, F, 3, H, W]`` -> ``[V, F * P, C]``, P tokens of each frame."""
        videos, frames = pixel_values_videos.shape[:2]
        patches = self.patches(pixel_values_videos.flatten(0, 1)).flatten(2).transpose(1, 2)
        return patches.reshape(videos, frames * patches.shape[1], -1)

    def forward(
        self,
        input_ids=None,
        pixel_values_videos=None,
        attention_mask=None,
        position_ids=None,
        inputs_embeds=None,
        cache=None,
        past_key_values=None,
        **kwargs,
    ):
        if inputs_embeds is None:
            inputs_embeds = self.language_model.embed_tokens(input_ids)
        if pixel_values_videos is not None:
            features = self.get_video_features(pixel_values_videos)
            replaced = (input_ids == self.config.video_token_id)[..., None]
            inputs_embeds = inputs_embeds.masked_scatter(replaced, features)
        return self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{CACHE: past_key_values if cache is None else cache},
            **kwargs,
        )


class GlimpseForConditionalGeneration(GlimpsePreTrainedModel, GenerationMixin):
    def __init__(self, config):
        super().__init__(config)
        self.model = GlimpseModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        pixel_values_videos=None,
        attention_mask=None,
        logits_to_keep=0,
        **kwargs,
    ):
        output = self.model(input_ids, pixel_values_videos, attention_mask, **kwargs)
        return CausalLMOutputWithPast(
            logits=self.lm_head(output.last_hidden_state[:, -logits_to_keep:]),
            **{CACHE: output[CACHE]},
        )

    def prepare_inputs_for_generation(self, input_ids, pixel_values_videos=None, **kwargs):
        inputs = super().prepare_inputs_for_generation(input_ids, **kwargs)
        if inputs["input_ids"].shape[1] == input_ids.shape[1]:  # the prompt; later, a token
            inputs["pixel_values_videos"] = pixel_values_videos
        return inputs


# ---- the family: what the package has to be told ----


class GlimpseFamily(FrameFamily):
    """Frames ``[V, F, 3, H, W]``, each encoded by itself, in one run of placeholders."""

    model_type = GlimpseConfig.model_type
    class_name = GlimpseForConditionalGeneration.__name__

    def model_class(self, config):  # by default the class of this name in transformers
        return GlimpseForConditionalGeneration

    def tokens_per_frame(self, config):
        return side_in_patches(config.vision_config) ** 2

    def placeholder_id(self, config):
        return config.video_token_id


FAMILIES[GlimpseFamily.model_type] = GlimpseFamily()


# ---- a video of 32 frames, where 64 positions were trained ----


def tiny_model():
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
    )
    vision = CLIPVisionConfig(image_size=16, patch_size=8)
    return GlimpseForConditionalGeneration(GlimpseConfig(text, vision)).eval()


def main():
    model, frames = tiny_model(), 32
    per_frame = FAMILIES["glimpse"].tokens_per_frame(model.config)
    words = torch.tensor([5, 6, 7])
    ids = torch.cat((words, torch.full((frames * per_frame,), VIDEO), words))[None]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.rand(1, frames, 3, 16, 16),
    }
    asked = {"max_new_tokens": 8, "do_sample": False}
    stock = model.generate(**inputs, **asked)[0, ids.shape[1] :]
    with extend(model, frames, rope="none"):
        same = model.generate(**inputs, **asked)[0, ids.shape[1] :]
    with extend(model, frames, window=8, kv_bits=4):
        extended = model.generate(**inputs, **asked)[0, ids.shape[1] :]
    print(f"stock:                {stock.tolist()}")
    print(f"extended, rope none:  {same.tolist()}")
    print(f"window, 4-bit, YaRN:  {extended.tolist()}")


if __name__ == "__main__":
    main()
