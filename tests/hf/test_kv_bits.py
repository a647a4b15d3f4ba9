"""extend(kv_bits=...): every path of generate() over packed keys, and ways out of wrong ones."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.test_stock_equality import TOLERANCE, generate, two_turns
from hf.tiny_model import (
    BOS,
    cache_of,
    make_inputs,
    prefills_video_in_chunks,
    text_logits,
    with_cache,
)
from intp_video import ModelError
from intp_video.hook import attention as hook_attention
from intp_video.hook.cache import kv_cache_bytes
from transformers import DynamicCache

from intp_ext import reference
from intp_ext.operators.attention import core_arguments

PATHS = {
    "greedy": {},
    "beams": {"num_beams": 3},
    "return 2": {"do_sample": True, "num_return_sequences": 2},
    "static": {"cache_implementation": "static"},
}
ROUTES = [
    (route, rotate) for route in ("features", "attention") for rotate in ("on_write", "on_read")
]


def options(bits, route="features", rotate="on_write", **others):
    return {"rope": "none", "kv_bits": bits, "rearrange": route, "kv_rotate": rotate, **others}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_at_16_bits_generate_is_the_stock_one(model, path, route):
    inputs = make_inputs(8)
    how = {"do_sample": False, **PATHS[path]}
    stock = generate(model, inputs, **how)
    with intp_video.extend(model, 8, **options(16, *route)):
        assert torch.equal(generate(model, inputs, **how), stock)
        assert torch.equal(generate(model, inputs, **how), stock)  # again: a kept cache is empty
    assert torch.equal(generate(model, inputs, **how), stock)


@pytest.mark.parametrize("bits", [8, 16])
def test_logits_of_the_stock_model(model, bits):
    """Fewer than 64 tokens are not packed yet: exact at any bits."""
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = text_logits(model(**inputs).logits, inputs)
        for fused in (True, False):
            with intp_video.extend(model, 8, **options(bits, fused=fused)):
                ours = text_logits(model(**inputs).logits, inputs)
            torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def over_dequantized(q, cache, bounds, scale, softcap=None, sinks=None):
    """cached_attention's definition: over keys and values in float32, unpacked."""
    k, v = cache.dequantize()
    rows, length = q.shape[2], cache.length
    if cache.rope is not None:
        positions = cache.positions
        q, _ = reference.apply_rope(q, None, positions[..., length - rows :], cache.rope)
        if cache.rotate == "on_read":
            _, k = reference.apply_rope(None, k, positions, cache.rope)
    return reference.attention_core(q, k, v, *core_arguments(bounds, scale, softcap, sinks))


@pytest.mark.parametrize("bits", [2, 2.5, 3, 4, 8])
@pytest.mark.parametrize("more", [{}, {"window": 3}, {"rope": "linear", "span": "visual"}], ids=str)
def test_logits_are_those_over_the_dequantized_cache(model, monkeypatch, bits, more):
    """Prefill, then a token, over packed keys: 32 frames, padded, by both ways to rotate."""
    inputs = make_inputs(32)
    token = torch.full((2, 1), 7, device=model.device)
    mask = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)

    def run():
        with torch.no_grad():
            first = model(**inputs)
            cache = cache_of(first)
            after = model(input_ids=token, attention_mask=mask, **with_cache(model, cache))
        assert cache.layers[0].cache.packed >= 128
        return torch.cat((text_logits(first.logits, inputs), after.logits[:, 0]))

    for rotate in ("on_write", "on_read"):
        with intp_video.extend(model, 32, **{**options(bits, rotate=rotate), **more}):
            ours = run()
            with monkeypatch.context() as patch:
                patch.setattr(hook_attention, "attend_cached", over_dequantized)
                torch.testing.assert_close(ours, run(), rtol=0, atol=2 * TOLERANCE)


def test_prefill_in_chunks_is_prefill(model):
    """Chunks cut through the video."""
    inputs = make_inputs(32)
    if not prefills_video_in_chunks(model):
        pytest.skip("this transformers cannot cut a prompt through its video")
    with intp_video.extend(model, 32, **options(16)):
        whole = generate(model, inputs, do_sample=False)
        chunked = generate(model, inputs, do_sample=False, prefill_chunk_size=37)
    assert torch.equal(whole, chunked)


@pytest.mark.parametrize("bits", [4, 16])
@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
def test_two_turns_over_one_cache(model, bits, rotate):
    inputs = make_inputs(8)
    stock = two_turns(model, inputs)
    with intp_video.extend(model, 8, **options(bits, rotate=rotate)):
        ours = two_turns(model, inputs)  # and a copy of the cache answers alike
    assert torch.equal(ours[0], stock[0])
    if bits == 16:
        assert torch.equal(ours[1], stock[1])


def test_bytes_are_those_of_the_plan(model):
    inputs = make_inputs(64, texts=((3, 4),))
    total = intp_video.plan(model, 64).total_tokens
    for bits in (4, 16):
        with torch.no_grad(), intp_video.extend(model, 64, kv_bits=bits):
            cache = cache_of(model(**inputs))
            text = total - cache.get_seq_length()
            model(
                input_ids=torch.full((1, text), 7, device=model.device),
                **with_cache(model, cache),
                attention_mask=torch.ones(1, total, device=model.device),
            )
        plan = intp_video.plan(model, 64, kv_bits=bits, dtype=torch.float32)
        assert cache.get_seq_length() == total
        assert kv_cache_bytes(cache)[0] == plan.kv_bytes <= kv_cache_bytes(cache)[1]
        assert ("float32" if bits == 16 else f"{bits} bits") in str(plan)


def test_a_packed_cache_needs_an_extended_model(model):
    ids = torch.tensor([[BOS, 7, 9]], device=model.device)
    with torch.no_grad():
        with intp_video.extend(model, 8, **options(4)):
            cache = cache_of(model(input_ids=ids))
        with pytest.raises(ModelError, match="extend it again"):
            model(input_ids=ids, **with_cache(model, cache))
        with intp_video.extend(model, 8, rope="none"):  # also by one without kv_bits
            again = model(input_ids=ids, **with_cache(model, cache))
        stock = model(input_ids=torch.cat((ids, ids), 1)).logits[:, 3:]
    torch.testing.assert_close(again.logits, stock, rtol=0, atol=TOLERANCE)


def test_cropped_by_hand(model):
    """transformers takes the last tokens back: by their number, negative in both versions."""
    ids = torch.tensor([[BOS, 7, 9, 11, 13]], device=model.device)
    with torch.no_grad():
        stock = model(input_ids=ids).logits[:, 3:]
        with intp_video.extend(model, 8, **options(4)):
            cache = cache_of(model(input_ids=ids))
            cache.crop(-2)
            assert cache.get_seq_length() == 3
            ours = model(input_ids=ids[:, 3:], **with_cache(model, cache)).logits
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


def test_right_padding_names_the_way_out(model):
    inputs = make_inputs(8, side="right")
    with torch.no_grad(), intp_video.extend(model, 8, **options(4)):
        model(**inputs)  # by itself it is padding at one end
        with pytest.raises(ModelError, match="pad on the left"):
            generate(model, inputs)


def test_a_custom_mask_names_the_way_out(model):
    ids = torch.tensor([[BOS, 7, 9]], device=model.device)
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool, device=model.device).tril()
    with (
        intp_video.extend(model, 8, **options(4)),
        pytest.raises(ModelError, match="extend without kv_bits"),
    ):
        model(input_ids=ids, attention_mask=mask)


def test_another_cache_names_the_way_out(model):
    class Other(DynamicCache):
        pass

    cache = Other(config=model.config.text_config)
    layer = type("OtherLayer", (type(cache.layers[0]),), {})
    cache.layers = [layer() for _ in cache.layers]
    with (
        intp_video.extend(model, 8, **options(4)),
        pytest.raises(ModelError, match="OtherLayer; extend without kv_bits"),
    ):
        model(input_ids=torch.tensor([[BOS, 7]], device=model.device), **with_cache(model, cache))


def test_another_attention_function_names_the_way_out(model):
    text = model.model.language_model
    with intp_video.extend(model, 8, **options(4)):
        text.set_attn_implementation("eager")
        with torch.no_grad(), pytest.raises(ModelError, match="only the attention function"):
            model(input_ids=torch.tensor([[BOS, 7]], device=model.device))


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"kv_bits": 5}, "kv_bits: expected one of 2, 2.5, 3, 4, 8, 16, got 5"),
        ({"kv_bits": True}, "kv_bits"),
        ({"kv_rotate": "never", "kv_bits": 4}, "kv_rotate: expected one of"),
        ({"kv_bits": None}, "kv_bits: expected one of"),
        ({"kv_rotate": "on_read", "kv_bits": 4, "fused": False}, "fused=True"),
    ],
)
def test_options(model, bad, named):
    with pytest.raises(ValueError, match=named):
        intp_video.extend(model, **bad)
    intp_video.extend(model).restore()
