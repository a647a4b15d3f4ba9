"""Text models other than Llama under Video-LLaVA: right, or refused by a message that says why."""

from __future__ import annotations

import warnings

import intp_video
import pytest
import torch
import transformers
from hf.stock import step_logits
from hf.tiny_model import make_inputs, make_model, with_cache
from intp_video import ModelError
from transformers import DynamicCache

TOLERANCE = 2e-5

RIGHT = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-sliding": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Config", {"head_dim": 16}),
    "mistral-sliding": ("MistralConfig", {"sliding_window": 12}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),  # its second layer has no RoPE
    "phi3": ("Phi3Config", {"sliding_window": None}),
}


def make(name: str, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_model(text_config=getattr(transformers, name), **options)


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("name", RIGHT)
def test_equals_stock(name, fused, cache):
    model = make(RIGHT[name][0], **RIGHT[name][1])
    inputs = make_inputs(8)
    stock = step_logits(model, inputs)  # a stock static cache fails or is off with windows in 4.57
    with intp_video.extend(model, 8, rope="none", fused=fused):
        ours = step_logits(model, inputs, cache_implementation=cache)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_restretch_over_a_layer_without_rope():
    """Keys with RoPE turn by the new frequencies; those without stay what the first pass made."""
    model = make(*RIGHT["smollm3"][:1], **RIGHT["smollm3"][1])
    prompt, next_token = make_inputs(8, ((6, 4),)), torch.tensor([[5]])
    text = model.model.language_model

    def stock(factor: float):
        """A cache of the prompt under frequencies that are stretched linearly."""
        text.rotary_emb.inv_freq.copy_(trained / factor)
        cache = DynamicCache(config=model.config.text_config)
        model(**prompt, **with_cache(model, cache))
        return cache

    trained = text.rotary_emb.inv_freq.clone()
    model.set_attn_implementation("eager")
    as_it_was, stretched = stock(1.0), stock(4.0)
    stretched.layers[1].keys = as_it_was.layers[1].keys
    for layer in (0, 1):
        stretched.layers[layer].values = as_it_was.layers[layer].values
    expected = model(input_ids=next_token, **with_cache(model, stretched)).logits
    text.rotary_emb.inv_freq.copy_(trained)

    with intp_video.extend(model, 8, rope="linear", factor=1.0, kv_rotate="on_read") as handle:
        cache = DynamicCache(config=model.config.text_config)
        model(**prompt, **with_cache(model, cache))
        handle.restretch(cache, 4.0)
        ours = model(input_ids=next_token, **with_cache(model, cache)).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_channels_that_are_cut_off_before_the_rotation():
    """StableLM rotates a part of each head that it has cut off; in 4.57 every layer by itself."""
    with pytest.raises(ModelError, match=r"extend with fused=False|frequencies of several kinds"):
        intp_video.extend(make("StableLmConfig"), 8, rope="none")


@pytest.mark.parametrize("name", ["BloomConfig", "FalconConfig", "GPTNeoXConfig", "MptConfig"])
def test_another_structure_is_refused_by_extend(name):
    model = make(name)
    with pytest.raises(ModelError, match="is not a decoder of layers with self_attn"):
        intp_video.extend(model, 8)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_frequencies_that_change_with_the_length_are_refused(kind):
    rope = {"rope_type": kind, "rope_theta": 1e4, "factor": 4.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
        rope |= {"original_max_position_embeddings": 32}
    try:
        model = make_model(rope_parameters=rope)
        assert model.model.language_model.rotary_emb.rope_type == kind
    except (TypeError, AssertionError):  # transformers 4
        model = make_model(rope_scaling=rope)
    with pytest.raises(ModelError, match=f"change with the length .*{kind}"):
        intp_video.extend(model, 8, rope="none")


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("Gemma2Config", {"head_dim": 16, "query_pre_attn_scalar": 16}, "takes softcap"),
        ("GptOssConfig", {"head_dim": 16, "num_local_experts": 2}, "rotate-half|s_aux"),
        ("Gemma3TextConfig", {"head_dim": 16}, "frequencies of several kinds|softcap"),
    ],
)
def test_refused_by_name(name, options, named, cache):
    model = make(name, **options)
    with pytest.raises(ModelError, match=named), intp_video.extend(model, 8, rope="none"):
        model.generate(**make_inputs(8), max_new_tokens=2, cache_implementation=cache)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GlmConfig", {"head_dim": 16}),  # turns pairs, and half of the channels
        ("HunYuanDenseV1Config", {"head_dim": 16}),  # weighs channels after it has turned them
    ],
)
def test_refused_fused_and_right_unfused(name, options):
    model = make(name, **options)
    inputs = make_inputs(8)
    stock = step_logits(model, inputs)
    with (
        pytest.raises(ModelError, match="extend with fused=False"),
        intp_video.extend(model, 8, rope="none"),
    ):
        model(**inputs)
    with intp_video.extend(model, 8, rope="none", fused=False):
        ours = step_logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
