"""Stock eager transformers, given the same features, positions and frequencies as an extended
model."""

from __future__ import annotations

from contextlib import contextmanager

import intp_video
import torch
from intp_video import compat
from transformers.modeling_outputs import BaseModelOutputWithPooling


def features_of(model, inputs, **options) -> tuple[torch.Tensor, intp_video.Handle]:
    """``[V * M, P, C]`` in time order, from an extended model's ``get_video_features``; and its
    handle."""
    with (
        torch.no_grad(),
        intp_video.extend(model, **{**options, "rearrange": "features"}) as handle,
    ):
        output = model.model.get_video_features(inputs["pixel_values_videos"])
        return compat.pooled_features(output), handle


@contextmanager
def stock_with(model, features, rope, stretch=None):
    """The stock model, eager, with these features and frequencies; ``stretch`` maps its
    position_ids."""
    outer, text = model.model, model.model.language_model
    rotary, implementation = text.rotary_emb, text.config._attn_implementation
    before = rotary.inv_freq.clone(), rotary.attention_scaling
    rotary.inv_freq.copy_(rope.inv_freq)
    rotary.attention_scaling = rope.attention_scaling
    rotary_forward = rotary.forward
    if stretch is not None:
        rotary.forward = lambda x, position_ids: rotary_forward(x, stretch(position_ids))

    def get_video_features(pixel_values_videos, return_dict=None, **kwargs):
        if return_dict is None:  # transformers 4
            return features, pixel_values_videos.shape[1]
        return BaseModelOutputWithPooling(pooler_output=features)

    outer.get_video_features = get_video_features
    text.set_attn_implementation("eager")
    try:
        yield model
    finally:
        text.set_attn_implementation(implementation)
        del outer.get_video_features
        rotary.__dict__.pop("forward", None)
        rotary.inv_freq.copy_(before[0])
        rotary.attention_scaling = before[1]


def greedy(model, inputs, tokens: int = 8):
    """Greedy answer and the smallest margin between the best and the second-best token on the
    way."""
    output = model.generate(
        **inputs,
        max_new_tokens=tokens,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    top = torch.stack(output.scores).topk(2).values  # [T, B, 2]
    return output.sequences, float((top[..., 0] - top[..., 1]).min())


def step_logits(model, inputs, tokens: int = 6, **options):
    """``[B, T, V]``: what each token of the greedy answer was chosen from."""
    output = model.generate(
        **inputs,
        max_new_tokens=tokens,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )
    return torch.stack(output.logits, dim=1)
