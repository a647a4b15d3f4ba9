"""Every wrong argument of extend() and of an extended model is named, and nothing is half done."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.tiny_model import TOKENS_PER_FRAME, cache_of, make_inputs, make_model, with_cache
from intp_video import ModelError
from torch import nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, StaticCache

NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"frames": 0}, ValueError, "frames"),
        ({"frames": -8}, ValueError, "frames"),
        ({"frames": 10**9}, ValueError, "frames"),
        ({"frames": 8.0}, TypeError, "frames"),
        ({"frames": "64"}, TypeError, "frames"),
        ({"frames": True}, TypeError, "frames"),
        ({"rope": "rotary"}, ValueError, "rope: expected one of none, linear"),
        ({"factor": 0.5}, ValueError, "factor"),
        ({"factor": NAN}, ValueError, "factor"),
        ({"factor": "2"}, TypeError, "factor: expected a number, got str"),
        ({"factor": True}, TypeError, "factor: expected a number, got bool"),
        ({"kv_bits": 4.0}, ValueError, r"kv_bits: expected one of 2, 2.5, 3, 4, 8, 16, got 4\.0"),
        ({"factor": float("inf")}, ValueError, "factor"),
        ({"rope": "none", "factor": 2.0}, ValueError, "factor"),
        ({"span": "text"}, ValueError, "span"),
        ({"span": "visual", "rope": "ntk"}, ValueError, 'needs rope="linear"'),
        ({"window": 0}, ValueError, "window"),
        ({"window": 2.5}, TypeError, "window"),
        ({"window": 2, "sink": -1}, ValueError, "sink"),
        ({"sink": 4}, ValueError, "sink"),
        ({"grouping": "random"}, ValueError, "grouping"),
        ({"rearrange": "never"}, ValueError, "rearrange"),
        ({"frames_per_group": 0}, ValueError, "frames_per_group"),
        ({"groups_per_chunk": 0}, ValueError, "groups_per_chunk"),
    ],
)
def test_options(model, options, error, named):
    with pytest.raises(error, match=named):
        intp_video.extend(model, **options)
    intp_video.extend(model).restore()  # nothing was left behind


def test_an_unknown_model_type_lists_the_known_ones():
    config = LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with pytest.raises(ModelError, match=r"'llama' is not known; known: .*video_llava"):
        intp_video.extend(LlamaForCausalLM(config))


def test_not_a_transformers_model():
    with pytest.raises(ModelError, match="not known"):
        intp_video.extend(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("function", "others"),
    [("ask", ("video.mp4", "Why?")), ("Session", ()), ("WatchedVideo", ("video.mp4",))],
)
def test_a_directory_for_a_preparer(model, function, others):
    with pytest.raises(TypeError, match=f"^{function}: preparer: expected a Preparer.*got str$"):
        getattr(intp_video, function)(model, "directory", *others)


def test_a_model_without_video_tower(model):
    model.model.video_tower = None
    with pytest.raises(ModelError, match="no video tower"):
        intp_video.extend(model)


def test_a_rope_that_is_stretched_already():
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    try:
        model = make_model(rope_parameters=rope)
        stretched = model.model.language_model.rotary_emb.rope_type == "linear"
    except TypeError:
        stretched = False
    if not stretched:  # transformers 4
        model = make_model(rope_scaling={"rope_type": "linear", "factor": 2.0})
    with pytest.raises(ModelError, match="stretches its RoPE already"):
        intp_video.extend(model, 32)
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = model(**inputs).logits
        with intp_video.extend(model, 8, rope="none"):
            torch.testing.assert_close(
                model(**inputs).logits[0, -1], stock[0, -1], atol=1e-5, rtol=0
            )


@pytest.mark.parametrize(
    ("frames", "named"), [(12, "whole groups of 8 frames, got 12"), (24, "at most the 16 frames")]
)
def test_frames_that_do_not_fit(model, frames, named):
    with intp_video.extend(model, 16), pytest.raises(ValueError, match=named):
        model(**make_inputs(frames))


def test_pixel_values_of_the_wrong_shape(model):
    inputs = make_inputs(8)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][0]
    with (
        intp_video.extend(model, 16),
        pytest.raises(ValueError, match=r"expected \[videos, frames"),
    ):
        model(**inputs)


def two_videos(between: int):
    """One row with two videos of 8 frames and some words between them."""
    first, second = make_inputs(8, ((3, 2),)), make_inputs(8, ((between, 4),), seed=2)
    ids = torch.cat((first["input_ids"][:, : 3 + 8 * TOKENS_PER_FRAME], second["input_ids"]), dim=1)
    pixels = torch.cat((first["pixel_values_videos"], second["pixel_values_videos"]))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels}


def test_two_videos_in_a_row_are_refused_where_one_place_is_needed(model):
    with (
        intp_video.extend(model, 16, rearrange="attention"),
        pytest.raises(ModelError, match="one video in a row"),
    ):
        model(**two_videos(between=2))


def test_two_videos_in_a_row_work_where_none_is_needed(model):
    inputs = two_videos(between=2)
    with torch.no_grad():
        stock = model(**inputs).logits
        with intp_video.extend(model, 8, rope="none"):
            torch.testing.assert_close(model(**inputs).logits, stock, atol=1e-5, rtol=0)


@pytest.mark.parametrize("merged", [False, True], ids=["pixels", "merged-already"])
@pytest.mark.parametrize(
    "options",
    [
        {"window": 2},
        {"rope": "linear", "span": "visual"},
        {"rearrange": "attention"},
        {"rope": "dynamic_ntk"},
    ],
    ids=str,
)
def test_embeddings_hide_where_the_video_is(model, options, merged):
    inputs = make_inputs(8)
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    if merged:
        del inputs["pixel_values_videos"]
    with (
        intp_video.extend(model, 8, **options),
        pytest.raises(ModelError, match="pass input_ids, not inputs_embeds"),
    ):
        model(inputs_embeds=embeds, **inputs)


def test_embeddings_are_as_good_where_the_video_need_not_be_found(model):
    inputs = make_inputs(8)
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    with torch.no_grad():
        stock = model(inputs_embeds=embeds, **inputs).logits[:, -1]
        with intp_video.extend(model, 8, rope="none"):
            ours = model(inputs_embeds=embeds, **inputs).logits[:, -1]
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)


def test_a_part_of_the_model(model):
    with pytest.raises(ModelError, match=r"expected the whole model, .* its part VideoLlavaModel"):
        intp_video.extend(model.model)


def test_a_peft_model_is_extended_where_its_layers_stand(model):
    class PeftModel(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base_model, self.config = base, base.config

        def get_base_model(self):
            return self.base_model

    with intp_video.extend(PeftModel(model), 8) as handle:
        assert handle.model is model


def test_the_decoder_alone_does_not_know_where_the_video_is(model):
    embeds = torch.randn(1, 5, 64, device=model.device)
    with torch.no_grad():
        stock = model.model.language_model(inputs_embeds=embeds).last_hidden_state
        with intp_video.extend(model, 8, rope="none"):
            ours = model.model.language_model(inputs_embeds=embeds).last_hidden_state
        torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)
        with (
            intp_video.extend(model, 16, window=2),
            pytest.raises(ModelError, match="call the whole model"),
        ):
            model.model.language_model(inputs_embeds=embeds)


def test_a_cache_from_before_extend(model):
    inputs = make_inputs(8)
    cache = cache_of(model(**inputs))
    with (
        intp_video.extend(model, 8, rope="none"),
        pytest.raises(ModelError, match="from before extend"),
    ):
        model(input_ids=torch.tensor([[5], [6]], device=model.device), **with_cache(model, cache))


def test_the_attention_route_needs_the_whole_prompt_at_once(model):
    inputs = make_inputs(8, ((6, 4),))
    with (
        torch.no_grad(),
        intp_video.extend(model, 8, rope="none", rearrange="attention"),
        pytest.raises(ModelError, match="whole prompt in one pass"),
    ):
        cache = DynamicCache(config=model.config.text_config)
        model(input_ids=inputs["input_ids"][:, :3], **with_cache(model, cache))
        model(
            input_ids=inputs["input_ids"][:, 3:],
            pixel_values_videos=inputs["pixel_values_videos"],
            **with_cache(model, cache),
        )


def test_a_window_refuses_padding_in_the_middle(model):
    inputs = make_inputs(8, ((6, 4),))
    inputs["attention_mask"][0, 3] = 0
    with (
        intp_video.extend(model, 8, window=2),
        pytest.raises(ModelError, match="one end of each row"),
    ):
        model(**inputs)


def test_a_model_in_float64(model):
    with pytest.raises(ModelError, match=r"take float32, bfloat16 and float16, got .*float64"):
        intp_video.extend(model.double())


def test_packed_sequences_are_refused_by_name(model):
    lengths = torch.tensor([0, 3, 5], dtype=torch.int32, device=model.device)
    ids = torch.tensor([[1, 5, 6, 1, 7]], device=model.device)
    with intp_video.extend(model, 8), pytest.raises(ModelError, match="takes cu_seq_lens_q"):
        model(input_ids=ids, cu_seq_lens_q=lengths)


def test_dynamic_ntk_gives_a_batch_one_set_of_frequencies(model):
    """A short prompt must not be answered by the frequencies of its longest neighbor."""
    ids = torch.randint(3, 60, (2, 90), device=model.device)
    mask = torch.ones_like(ids)
    mask[0, :40] = 0
    with torch.no_grad(), intp_video.extend(model, 8, rope="dynamic_ntk"):
        alone = model(input_ids=ids[:1, 40:]).logits[0, -1]
        with pytest.raises(ModelError, match=r"prompts of 64 and of 90 tokens.*one by one"):
            model(input_ids=ids, attention_mask=mask)
        mask[1, :30] = 0  # 60 tokens: both within what was trained
        padded = model(input_ids=ids, attention_mask=mask, position_ids=mask.cumsum(-1) - 1)
    torch.testing.assert_close(padded.logits[0, -1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "reach"),
    [
        ({"rope": "none"}, 64),
        ({"rope": "yarn", "factor": 1.25}, 80),
        ({"rope": "linear", "span": "visual", "factor": 2.0}, 64 + 20),
    ],
    ids=str,
)
def test_positions_beyond_the_stretch_are_said_once(model, caplog, options, reach):
    ids = torch.full((1, reach), 7, device=model.device)
    with torch.no_grad(), intp_video.extend(model, 8, **options):
        cache = cache_of(model(input_ids=ids))
        assert "beyond" not in caplog.text
        for _ in range(2):
            model(input_ids=ids[:, :1], **with_cache(model, cache))
    assert caplog.text.count(f"beyond the {reach} positions") == 1


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        (torch.ones(1, 1, 3, 3, dtype=torch.int32), "expected a 4-D mask of bool or floats"),
        ({"full_attention": torch.ones(1, 3)}, "expected a tensor .* got a dict"),
    ],
    ids=["integers", "dict"],
)
def test_masks_that_could_be_taken_for_something_else(model, mask, named):
    ids = torch.tensor([[1, 7, 9]], device=model.device)
    with intp_video.extend(model, 8), pytest.raises(ModelError, match=named):
        model(input_ids=ids, attention_mask=mask)


def test_a_mask_of_floats_over_a_longer_static_cache(model):
    """What the mask does not reach is not seen."""
    ids = torch.tensor([[1, 7, 9, 11]], device=model.device)
    mask = torch.full((4, 4), float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        stock = model(input_ids=ids).logits
        with intp_video.extend(model, 8, rope="none"):
            cache = StaticCache(config=model.config.text_config, max_cache_len=12)
            ours = model(input_ids=ids, attention_mask=mask, **with_cache(model, cache)).logits
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)


def test_what_is_said_of_a_static_cache_does_not_stand_beside_an_error(model, caplog):
    ids = torch.tensor([[1, 7, 9, 11]], device=model.device)
    with torch.no_grad(), intp_video.extend(model, 8):
        short = StaticCache(config=model.config.text_config, max_cache_len=2)
        with pytest.raises((RuntimeError, IndexError)):
            model(input_ids=ids, **with_cache(model, short))
        assert caplog.text == ""
        cache = StaticCache(config=model.config.text_config, max_cache_len=12)
        model(input_ids=ids, **with_cache(model, cache))
    assert "StaticCache: keys are rotated before they are cached" in caplog.text


def test_dropout_is_refused(model):
    model.model.language_model.layers[0].self_attn.attention_dropout = 0.1
    model.train()
    with intp_video.extend(model, 8), pytest.raises(ModelError, match="eval"):
        model(**make_inputs(8))
