"""Gemma 4 beyond what every family is tested for: two sets of frequencies, heads of two widths,
keys that are values, frames that see themselves both ways."""

from __future__ import annotations

from dataclasses import replace

import intp_video
import pytest
import torch
import transformers
from hf.test_families import (
    LONG,
    ORDINARY,
    TEXTS,
    TOLERANCE,
    answer,
    family_of,
    logits,
    stock_with,
    text_model,
)
from hf.tiny_families import SLIDING, gemma4
from hf.tiny_model import cache_of
from intp_video import ModelError, compat
from intp_video.hook.rotary import frequencies_of, trained_rope
from intp_video.models import FAMILIES as SUPPORTED

DEFAULT = family_of("gemma4")
K_IS_V = replace(
    DEFAULT, config=lambda: gemma4(attention_k_eq_v=True, num_global_key_value_heads=1)
)
BOTH_WAYS = replace(DEFAULT, config=lambda: gemma4(use_bidirectional_attention="vision"))


@pytest.mark.parametrize("family", [K_IS_V, BOTH_WAYS], ids=["k-is-v", "both-ways"])
def test_as_in_large_models(family):
    """At its ordinary frames it is the stock model."""
    model = family.make_model()
    inputs = family.make_inputs(ORDINARY, TEXTS)
    model.set_attn_implementation("eager")
    stock, tokens = logits(model, inputs), answer(model, inputs)
    with intp_video.extend(model, ORDINARY, rope="none"):
        torch.testing.assert_close(logits(model, inputs), stock, rtol=0, atol=TOLERANCE)
        assert torch.equal(answer(model, inputs), tokens)


def test_a_cache_that_does_not_know_its_layers_is_refused(monkeypatch):
    model = DEFAULT.make_model()
    monkeypatch.setattr("intp_video.models.gemma4.cached_windows", lambda config: [])
    with pytest.raises(ModelError, match="'gemma4' needs a newer transformers"):
        intp_video.extend(model, ORDINARY)


def test_a_model_that_sees_nothing():
    if not hasattr(transformers, "Gemma4Config"):
        pytest.skip("no such model in this transformers")
    with pytest.raises(ModelError, match="this gemma4 has no vision_config"):
        intp_video.plan(transformers.Gemma4Config())


def test_packed_keys_of_frames_that_see_themselves_both_ways():
    model = BOTH_WAYS.make_model()
    with pytest.raises(ValueError, match=r"kv_bits: expected 16 for gemma4 .* both ways"):
        intp_video.extend(model, ORDINARY, kv_bits=4)


def test_layers_that_slide_keep_their_frequencies():
    """What is stretched is the part that turns, of the layers that see everything."""
    model = DEFAULT.make_model()
    own = text_model(model).rotary_emb
    with intp_video.extend(model, LONG, rope="yarn", factor=4.0):
        extended = text_model(model).rotary_emb
        twin = extended.twin(extended.rope)
        for kind in ("inv_freq", "attention_scaling"):
            name = f"sliding_attention_{kind}"
            assert getattr(twin, name) is getattr(own, name)
        trained, stretched = frequencies_of(own), frequencies_of(twin)
        turns = trained != 0
        assert turns.sum() == len(trained) // 4
        assert not stretched[~turns].any() and (stretched[turns] < trained[turns]).any()


@pytest.mark.parametrize("bits", [16, 4])
@pytest.mark.parametrize("family", [DEFAULT, K_IS_V], ids=["default", "k-is-v"])
def test_what_is_planned_for_gemma4(family, bits):
    """Heads of two widths, and layers that keep a few tokens."""
    model = family.make_model()
    frames = 64
    plan = intp_video.plan(model, frames, dtype=torch.float32, kv_bits=bits)
    inputs = family.make_inputs(16)
    with torch.no_grad(), intp_video.extend(model, frames, kv_bits=bits):
        cache = cache_of(model(**inputs))
    *local, last = cache.layers
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in local)
    assert all(layer.keys.shape[-2] == SLIDING - 1 for layer in local)
    if bits == 16:
        each = (last.keys.nbytes + last.values.nbytes) // last.keys.shape[-2]
        assert plan.kv_bytes == kept + each * plan.total_tokens
    else:
        full = intp_video.plan(model, frames, dtype=torch.float32).kv_bytes - kept
        assert (plan.kv_bytes - kept) < full / 4


def test_more_videos_than_sizes_of_frames():
    """Three videos in a row, the second with frames half as wide, whose visual tokens are found."""
    if not compat.gemma4_counts_frames():
        pytest.skip("videos of several sizes have no common tensor in this transformers")
    model = DEFAULT.make_model()
    inputs = DEFAULT.make_inputs(3 * ORDINARY)
    number, half = ORDINARY, DEFAULT.tokens // 2
    inputs["num_frames_per_video"] = torch.tensor([number] * 3)
    at = torch.arange(16 // 2)
    narrow = slice(number, 2 * number)
    inputs["video_position_ids"][narrow] = -1
    inputs["video_position_ids"][narrow, : len(at)] = torch.stack((at % 2, at // 2), dim=-1)
    inputs["pixel_values_videos"][narrow, len(at) :] = 0
    visual = (inputs["input_ids"][0] == DEFAULT.placeholder).nonzero()[:, 0]
    keep = torch.ones_like(inputs["input_ids"][0], dtype=torch.bool)
    keep[visual.view(-1, DEFAULT.tokens)[narrow, half:]] = False
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in inputs:
            inputs[name] = inputs[name][:, keep]

    visual = inputs["input_ids"] == DEFAULT.placeholder
    before = visual.cumsum(-1) - visual.long()
    causal = torch.ones(1, *2 * visual.shape[1:], dtype=torch.bool).tril()
    rope = trained_rope(text_model(model), SUPPORTED["gemma4"])
    with stock_with(model, rope, causal, lambda positions: positions.float() - before * 0.75):
        stock = logits(model, inputs)
    options = {"rope": "linear", "span": "visual", "factor": 4.0}
    with intp_video.extend(model, ORDINARY, **options):
        ours = logits(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_frames_that_are_not_those_of_their_number():
    inputs = DEFAULT.make_inputs(ORDINARY)
    if "num_frames_per_video" not in inputs:
        pytest.skip("videos have a dimension of their own in this transformers")
    arguments = {"pixel_values_videos": inputs["pixel_values_videos"][1:]}
    arguments["num_frames_per_video"] = inputs["num_frames_per_video"]
    with pytest.raises(ValueError, match="expected the 8 frames of num_frames_per_video"):
        SUPPORTED["gemma4"].units(arguments)
