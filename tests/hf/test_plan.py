"""plan() says what a model will hold, and needs nothing but its config."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.tiny_families import FAMILIES
from hf.tiny_model import TOKENS_PER_FRAME, cache_of, make_inputs, make_model
from intp_video.planning import text_reserve
from transformers import CLIPVisionConfig, LlamaConfig, Qwen2Config, VideoLlavaConfig


def test_video_llava_7b():
    """The original checkpoint's numbers: 257 tokens a frame, 0.5 MiB of cache a token in bf16."""
    config = VideoLlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=224,
            patch_size=14,
            projection_dim=768,
        ),
        text_config=LlamaConfig(vocab_size=32064, max_position_embeddings=4096),
    )
    plan = intp_video.plan(config, 64, dtype=torch.bfloat16)
    assert (plan.frames, plan.groups, plan.tokens_per_frame) == (64, 8, 257)
    assert plan.visual_tokens == 16448
    assert plan.factor == pytest.approx((16448 + 256) / 4096)
    assert plan.kv_bytes == 16704 * 2**19
    assert 14e9 < plan.weight_bytes < 15.5e9
    assert plan.peak_bytes > plan.weight_bytes + plan.kv_bytes


def test_the_cache_is_as_large_as_planned(model):
    frames = 32
    plan = intp_video.plan(model, frames, dtype=torch.float32)
    inputs = make_inputs(frames, ((10, 14),))  # as much text as is set aside
    with torch.no_grad(), intp_video.extend(model, frames):
        cache = cache_of(model(**inputs))
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) == plan.kv_bytes


@pytest.mark.parametrize("bits", [16, 4])
def test_recurrent_layers_have_no_keys(bits):
    config = next(family for family in FAMILIES if family.name == "qwen3_5").make_model().config
    layers = config.text_config.num_hidden_layers
    half = intp_video.plan(config, 32, kv_bits=bits).kv_bytes
    config.text_config.layer_types = ["full_attention"] * layers
    assert half > 0 and 2 * half == intp_video.plan(config, 32, kv_bits=bits).kv_bytes


@pytest.mark.parametrize("bits", [16, 4])
def test_a_sliding_window_bounds_the_cache_that_is_planned(bits):
    layers = {"num_hidden_layers": 3, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]}
    sliding = {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 0}
    model = make_model(text_config=Qwen2Config, **layers, **sliding)
    frames = 32
    plan = intp_video.plan(model, frames, dtype=torch.float32, kv_bits=bits)
    inputs = make_inputs(frames, ((10, 14),))
    with torch.no_grad(), intp_video.extend(model, frames, kv_bits=bits):
        cache = cache_of(model(**inputs))
    local = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers[:2])
    assert local == 2 * 2 * 11 * 2 * 16 * 4  # layers, keys and values, tokens, heads, D, bytes
    last = cache.layers[2]
    if bits == 16:
        assert plan.kv_bytes == local + last.keys.nbytes + last.values.nbytes
    else:  # with a set of positions, which keys that are rotated before do not have
        assert local < plan.kv_bytes and plan.kv_bytes - local >= last.sizes()[0]


def test_the_weights_are_as_large_as_planned(model):
    plan = intp_video.plan(model, 8, dtype=torch.float32)
    assert plan.weight_bytes == sum(p.nbytes for p in model.parameters())


def test_the_factor_is_the_one_extend_uses(model):
    with intp_video.extend(model, 32) as handle:
        assert handle.factor == intp_video.plan(model, 32).factor


def test_rounds_up_to_whole_groups(model):
    plan = intp_video.plan(model, 33)
    assert (plan.frames, plan.groups, plan.visual_tokens) == (40, 5, 40 * TOKENS_PER_FRAME)


def test_reads_a_directory_and_loads_no_weights(tmp_path):
    make_model().config.save_pretrained(tmp_path)
    assert intp_video.plan(tmp_path, 16) == intp_video.plan(make_model(), 16)


@pytest.mark.parametrize("frames", [0, -1, 10**9])
def test_frames_out_of_range(model, frames):
    with pytest.raises(ValueError, match="frames"):
        intp_video.plan(model, frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 1.5}, "plan: frames: expected an int, got float"),
        ({"height": 0}, "plan: height: expected 1 to .* got 0"),
        ({"width": 1.5}, "plan: width: expected an int, got float"),
        ({"dtype": "float16"}, "plan: dtype: expected a floating torch.dtype, got 'float16'"),
        ({"dtype": torch.int8}, "plan: dtype: .* got torch.int8"),
        ({"kv_bits": 5}, "plan: kv_bits: expected one of 2, 2.5, 3, 4, 8, 16, got 5"),
    ],
    ids=str,
)
def test_what_cannot_be_planned(model, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        intp_video.plan(model, **options)


def test_no_model_there(tmp_path):
    with pytest.raises(intp_video.ModelError, match=r"no config\.json"):
        intp_video.plan(tmp_path)
    with pytest.raises(intp_video.ModelError, match="no such folder"):
        intp_video.plan(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("positions", "trained", "room"),
    [(8 * 257, 4096, 256), (80, 91, 11), (8 * 17, 256, 120), (8 * 17, 100, 0)],
)
def test_room_for_text_is_what_the_training_had_at_most(positions, trained, room):
    assert text_reserve(positions, trained) == room


def test_the_frames_of_the_training_need_no_stretch(model):
    assert intp_video.plan(model, 8).factor == 1
    with intp_video.extend(model, 8) as handle:
        assert handle.factor == 1
