"""At 8 frames and with RoPE untouched, an extended model is the stock model on every path of
generate()."""

from __future__ import annotations

import copy

import intp_video
import pytest
import torch
from hf.stock import step_logits
from hf.tiny_model import (
    BOS,
    TOKENS_PER_FRAME,
    VIDEO,
    cache_of,
    make_inputs,
    make_model,
    prefills_video_in_chunks,
    text_logits,
    with_cache,
)
from transformers import DynamicCache

import intp_ext

TOLERANCE = 1e-5  # fp32 logits of size ~1 through two layers

VARIANTS = [
    pytest.param(
        {"fused": fused, "rearrange": route}, id=f"{'fused' if fused else 'unfused'}-{route}"
    )
    for fused in (True, False)
    for route in ("features", "attention")
]


@pytest.fixture(params=VARIANTS)
def variant(request):
    return {"frames": 8, "rope": "none", **request.param}


def generate(model, inputs, **options):
    torch.manual_seed(0)
    return model.generate(**inputs, max_new_tokens=8, **options)


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits(model, variant, side):
    inputs = make_inputs(8, side=side)
    with torch.no_grad():
        stock = text_logits(model(**inputs).logits, inputs)
        with intp_video.extend(model, **variant):
            ours = text_logits(model(**inputs).logits, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_logits_without_a_cache(model, variant):
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = text_logits(model(**inputs, use_cache=False).logits, inputs)
        with intp_video.extend(model, **variant):
            ours = text_logits(model(**inputs, use_cache=False).logits, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_text_without_a_video(model, variant):
    ids = torch.tensor([[BOS, 7, 9, 11, 13]], device=model.device)
    with torch.no_grad():
        stock = model(input_ids=ids).logits
        with intp_video.extend(model, **variant):
            ours = model(input_ids=ids).logits
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"do_sample": False}, id="greedy"),
        pytest.param({"do_sample": False, "num_beams": 3}, id="beams"),
        pytest.param({"do_sample": True, "temperature": 1.3}, id="sampling"),
        pytest.param({"do_sample": True, "num_return_sequences": 2}, id="return-2"),
        pytest.param({"do_sample": False, "output_hidden_states": True}, id="hidden-states"),
        pytest.param({"do_sample": False, "use_cache": False}, id="no-cache"),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_generate(model, variant, side, options):
    inputs = make_inputs(8, side=side)
    stock = generate(model, inputs, **options)
    with intp_video.extend(model, **variant):
        assert torch.equal(generate(model, inputs, **options), stock)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize(
    ("route", "side"), [("features", "left"), ("features", "right"), ("attention", "left")]
)
def test_static_cache(model, route, fused, side):
    inputs = make_inputs(8, side=side)
    stock = step_logits(model, inputs, cache_implementation="static")
    with intp_video.extend(model, 8, rope="none", fused=fused, rearrange=route):
        ours = step_logits(model, inputs, cache_implementation="static")
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("do_sample", [False, True], ids=["greedy", "sampling"])
@pytest.mark.parametrize("bits", [16, 4])
def test_assisted_decoding(model, bits, do_sample):
    """An assistant guesses, the cache is cropped by what was guessed wrong."""
    inputs = make_inputs(8, texts=((3, 4),))
    options = {"do_sample": do_sample, "assistant_model": make_model(seed=1)}
    stock = generate(model, inputs, **options)
    with intp_video.extend(model, 8, rope="none", kv_bits=bits):
        assert torch.equal(generate(model, inputs, **options), stock)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_compiled_text_model(model, fused):
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = text_logits(model(**inputs).logits, inputs)
        tokens = generate(model, inputs, do_sample=False)
        torch._dynamo.reset()
        with intp_video.extend(model, 8, rope="none", fused=fused):
            text_model = model.model.language_model
            forward = text_model.forward
            text_model.forward = torch.compile(forward, backend="eager", fullgraph=True)
            try:
                ours = text_logits(model(**inputs).logits, inputs)
                ours_tokens = generate(model, inputs, do_sample=False)
            finally:
                del text_model.forward
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert torch.equal(ours_tokens, tokens)


def test_a_text_model_that_was_compiled_before(model):
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = text_logits(model(**inputs).logits, inputs)
        torch._dynamo.reset()
        model.model.language_model = torch.compile(model.model.language_model, backend="eager")
        model(**inputs)
        with intp_video.extend(model, 8, rope="none"):
            ours = text_logits(model(**inputs).logits, inputs)
        restored = text_logits(model(**inputs).logits, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(restored, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_as_good_as_stock(model, dtype, variant):
    """Against the float32 model: at most twice the stock model's own error in that dtype."""
    inputs = make_inputs(8)
    head_dim = model.config.text_config.head_dim
    with torch.no_grad():
        exact = text_logits(model(**inputs).logits, inputs)
        model.to(dtype)  # rounds a stock model's frequencies, which from_pretrained does not
        frequencies = intp_ext.rope_frequencies("none", head_dim, device=model.device).inv_freq
        model.model.language_model.rotary_emb.inv_freq = frequencies
        inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(dtype)
        stock = text_logits(model(**inputs).logits.float(), inputs)
        with intp_video.extend(model, **variant):
            ours = text_logits(model(**inputs).logits.float(), inputs)
    error, stock_error = ((x - exact).abs().mean() for x in (ours, stock))
    assert stock_error > 0 and error <= 2 * stock_error


@pytest.mark.parametrize("bits", [16, 8])
def test_autocast(model, variant, bits):
    """Norms and angles stay in float32 there, and torch's own attention casts what it is given."""
    inputs = make_inputs(8)
    with torch.no_grad():
        exact = text_logits(model(**inputs).logits, inputs)
        with torch.autocast(model.device.type, torch.bfloat16):
            stock = text_logits(model(**inputs).logits, inputs)
            with intp_video.extend(model, **variant, kv_bits=bits):
                ours = text_logits(model(**inputs).logits, inputs)
    error, stock_error = ((x - exact).abs().mean() for x in (ours, stock))
    assert stock_error > 0 and error <= 2 * stock_error


def test_an_answer_may_hold_the_placeholder(model):
    """What is decoded after the video is no video that got lost."""
    inputs = make_inputs(8)
    with torch.no_grad(), intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        ids = torch.full((2, 3), VIDEO, device=model.device)
        model(input_ids=ids, **with_cache(model, cache))
        assert cache.get_seq_length() == inputs["input_ids"].shape[1] + 3


def test_prefill_in_chunks_by_hand(model):
    """The video in the first chunk, the question token by token in two more; as one pass."""
    inputs = make_inputs(8)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        stock = model(**inputs, position_ids=positions).logits[:, -1]
        for fused in (True, False):
            with intp_video.extend(model, 8, rope="none", fused=fused):
                cache = DynamicCache(config=model.config.text_config)
                ends = (ids.shape[1] - 4, ids.shape[1] - 2, ids.shape[1])
                for begin, end in zip((0, *ends[:-1]), ends, strict=True):
                    video = (
                        {"pixel_values_videos": inputs["pixel_values_videos"]} if begin == 0 else {}
                    )
                    output = model(
                        input_ids=ids[:, begin:end],
                        attention_mask=mask[:, :end],
                        position_ids=positions[:, begin:end],
                        **with_cache(model, cache),
                        **video,
                    )
            torch.testing.assert_close(output.logits[:, -1], stock, rtol=0, atol=TOLERANCE)


def test_generate_with_prefill_chunk_size(model):
    """Chunks that cut through the video (transformers 5 encodes it beforehand)."""
    inputs = make_inputs(8)
    if not prefills_video_in_chunks(model):
        pytest.skip("this transformers cannot cut a prompt through its video")
    stock = generate(model, inputs, do_sample=False, prefill_chunk_size=13)
    assert torch.equal(stock, generate(model, inputs, do_sample=False))
    for fused in (True, False):
        with intp_video.extend(model, 8, rope="none", fused=fused):
            assert torch.equal(
                generate(model, inputs, do_sample=False, prefill_chunk_size=13), stock
            )


def test_a_prefill_that_loses_the_video_is_an_error(model):
    """5.20 to 5.22 do so when they cut a prompt; here it is anybody who forgets the pixels."""
    inputs = make_inputs(8)
    del inputs["pixel_values_videos"]
    with (
        intp_video.extend(model, 8, rope="none"),
        pytest.raises(intp_video.ModelError, match="80 visual tokens came without a video"),
    ):
        model(**inputs)


def test_both_names_of_the_cache(model):
    """An extended model takes the cache by either name, as the stock model of 5.24 does."""
    ids = torch.tensor([[BOS, 7, 9, 11, 13]], device=model.device)
    with torch.no_grad():
        stock = model(input_ids=ids).logits[:, -1]
        names = {"past_key_values", *with_cache(model, None)}
        for name in names:
            with intp_video.extend(model, 8, rope="none"):
                cache = DynamicCache(config=model.config.text_config)
                model(input_ids=ids[:, :3], **{name: cache})
                ours = model(input_ids=ids[:, 3:], **{name: cache}).logits[:, -1]
                assert cache.get_seq_length() == 5
            torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_no_mask_and_no_cache(model):
    """4.57 then looks for packed sequences, finds none, and says so in the mask."""
    ids = torch.tensor([[BOS, 7, 9, 11, 13]], device=model.device)
    with torch.no_grad():
        stock = model(input_ids=ids, use_cache=False).logits
        with intp_video.extend(model, 8, rope="none", window=2):
            ours = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def two_turns(model, inputs):
    """A second question over the first one's cache; returns both answers."""
    first = model.generate(
        **inputs, max_new_tokens=5, do_sample=False, return_dict_in_generate=True
    )
    cache = cache_of(first)
    question = torch.tensor([[21, 22, 23]], device=model.device).expand(len(first.sequences), -1)
    ids = torch.cat((first.sequences, question), dim=1)
    mask = torch.ones_like(ids)
    mask[:, : inputs["attention_mask"].shape[1]] = inputs["attention_mask"]
    copied = copy.deepcopy(cache)
    answers = [
        model.generate(
            input_ids=ids,
            attention_mask=mask,
            **with_cache(model, c),
            max_new_tokens=5,
            do_sample=False,
        )
        for c in (cache, copied)
    ]
    assert torch.equal(*answers)
    return first.sequences, answers[0]


def test_two_turns_over_one_cache(model, variant):
    inputs = make_inputs(8)
    stock = two_turns(model, inputs)
    with intp_video.extend(model, **variant):
        ours = two_turns(model, inputs)
    assert torch.equal(ours[0], stock[0])
    assert torch.equal(ours[1], stock[1])


def test_the_cache_holds_what_the_stock_cache_holds(model, variant):
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = cache_of(model(**inputs))
        with intp_video.extend(model, **variant):
            ours = cache_of(model(**inputs))
    kept = inputs["attention_mask"].bool()[:, None, :, None]
    for ours_layer, stock_layer in zip(ours.layers, stock.layers, strict=True):
        for name in ("keys", "values"):
            difference = (getattr(ours_layer, name) - getattr(stock_layer, name)).abs()
            assert (difference * kept).max() < TOLERANCE


def test_inputs_of_the_tests_are_what_they_say():
    inputs = make_inputs(8, side="left")
    assert ((inputs["input_ids"] == VIDEO).sum(-1) == 8 * TOKENS_PER_FRAME).all()
    assert inputs["attention_mask"][0, 0] == 0 and inputs["attention_mask"][0, -1] == 1
