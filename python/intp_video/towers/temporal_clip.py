"""CLIP's vision tower with attention over time: the kind of encoder that Video-LLaVA was made with.

LanguageBind (Zhu et al., arXiv 2310.01852) adds to every layer of a CLIP vision tower a learnt
embedding of the frame's number and, before the spatial attention, one over the frames at the same
place:

    x [B, N, P, D]    N frames of P tokens
    x = x + temporal_embedding                          [N, D], of this layer; not if N = 1
    x = x + temporal_attn(temporal_layer_norm1(x))      B * P sequences of N
    x = x + self_attn(layer_norm1(x))                   B * N sequences of P
    x = x + mlp(layer_norm2(x))

Parameter names are those of LanguageBind's ``vision_model``, so its weights fit as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, VideoLlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import (
    CLIPMLP,
    CLIPAttention,
    CLIPPreTrainedModel,
    CLIPVisionEmbeddings,
)

from ..errors import ModelError


class TemporalClipConfig(CLIPVisionConfig):
    """A ``CLIPVisionConfig`` with ``num_frames``: N, how many frames attend to each other."""

    model_type = "temporal_clip_vision_model"
    num_frames: int = 8


class TemporalClipLayer(nn.Module):
    """Time, space, MLP, each on a residual stream ``[B * N, P, D]``."""

    def __init__(self, config: TemporalClipConfig) -> None:
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.num_frames = config.num_frames
        self.temporal_embedding = nn.Parameter(torch.empty(1, config.num_frames, size))
        self.temporal_attn = CLIPAttention(config)
        self.temporal_layer_norm1 = nn.LayerNorm(size, eps=eps)
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(size, eps=eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(size, eps=eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows, tokens, size = hidden.shape
        groups = rows // self.num_frames
        hidden = hidden.view(groups, self.num_frames, tokens, size)
        if self.num_frames > 1:  # as the original does: a frame alone gets no number
            hidden = hidden + self.temporal_embedding[:, :, None]
        over_time = hidden.transpose(1, 2).reshape(groups * tokens, self.num_frames, size)
        over_time = self.temporal_attn(hidden_states=self.temporal_layer_norm1(over_time))[0]
        over_time = over_time.view(groups, tokens, self.num_frames, size).transpose(1, 2)
        hidden = (hidden + over_time).reshape(rows, tokens, size)
        hidden = hidden + self.self_attn(hidden_states=self.layer_norm1(hidden))[0]
        return hidden + self.mlp(self.layer_norm2(hidden))


class TemporalClipEncoder(nn.Module):
    """All layers, in the place and under the names that CLIP gives them."""

    def __init__(self, config: TemporalClipConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TemporalClipLayer(config) for _ in range(config.num_hidden_layers)
        )


class TemporalClipModel(CLIPPreTrainedModel):
    """The tower: whole groups of N frames in, tokens of every frame out.

    ``forward(pixel_values [B * N, 3, H, W])`` takes the frames of group after group, each group in
    time order, and returns what ``CLIPVisionModel`` returns for images; ``pooler_output`` is of
    every frame by itself. Nothing passes from one group to another.

    Raises:
        ModelError: the number of frames is no multiple of N.

    Source: LanguageBind (arXiv 2310.01852); the tower of the original Video-LLaVA.
    """

    config_class = TemporalClipConfig
    main_input_name = "pixel_values"
    _no_split_modules = ("TemporalClipLayer", "CLIPVisionEmbeddings")

    def __init__(self, config: TemporalClipConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(
            config.hidden_size, eps=config.layer_norm_eps
        )  # CLIP's name
        self.encoder = TemporalClipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, TemporalClipLayer):
            nn.init.normal_(module.temporal_embedding, std=self.config.hidden_size**-0.5)

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embedding

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: Any = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling | tuple:
        frames = self.config.num_frames
        if pixel_values.shape[0] % frames:
            raise ModelError(
                f"TemporalClipModel: expected whole groups of {frames} frames, "
                f"got {pixel_values.shape[0]} frames"
            )
        hidden = self.pre_layrnorm(self.embeddings(pixel_values))
        states = [hidden]
        for layer in self.encoder.layers:
            hidden = layer(hidden)
            states.append(hidden)
        # transformers asks for some by number, or for all by True
        wanted = output_hidden_states is not None and output_hidden_states is not False
        output = BaseModelOutputWithPooling(
            last_hidden_state=hidden,
            pooler_output=self.post_layernorm(hidden[:, 0]),
            hidden_states=tuple(states) if wanted else None,
        )
        return output.to_tuple() if return_dict is False else output


class NoImageTower(nn.Module):
    """Stands where transformers expects an image tower; holds nothing."""

    def forward(self, *args: Any, **kwargs: Any) -> None:
        raise ModelError("this model has no image tower: it was trained on videos alone")


class TemporalVideoLlava(VideoLlavaForConditionalGeneration):
    """``VideoLlavaForConditionalGeneration`` with a :class:`TemporalClipConfig` for its vision.

    transformers builds image and video tower from that one config. A tower over time is of no use
    for single images, so the image tower is left out, and with it its weights.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.image_tower = NoImageTower()
