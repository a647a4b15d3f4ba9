"""At 32 frames an extended model is stock eager given the same features, positions and
frequencies."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.stock import features_of, greedy, stock_with
from hf.tiny_model import (
    TOKENS_PER_FRAME,
    VIDEO,
    make_inputs,
    make_model,
    prefills_video_in_chunks,
    text_logits,
)
from intp_video.planning import text_reserve

import intp_ext

FRAMES, TRAINED, HEAD_DIM = 32, 64, 16
PLANNED = FRAMES * TOKENS_PER_FRAME + text_reserve(8 * TOKENS_PER_FRAME, TRAINED)
FACTOR = PLANNED / TRAINED
TOLERANCE = 2e-5

ROUTES = [
    pytest.param(
        {"fused": fused, "rearrange": route}, id=f"{'fused' if fused else 'unfused'}-{route}"
    )
    for fused in (True, False)
    for route in ("features", "attention")
]


def rope_of(kind):
    """The frequencies from their own function, not from the handle."""
    return intp_ext.rope_frequencies(
        kind,
        HEAD_DIM,
        factor=1.0 if kind in ("none", "dynamic_ntk") else FACTOR,
        original_max_position=TRAINED,
        length=PLANNED,
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", ["none", "linear", "ntk", "dynamic_ntk", "yarn"])
def test_equals_stock(model, kind, route, side):
    inputs = make_inputs(FRAMES, side=side)
    features, _ = features_of(model, inputs, frames=FRAMES, rope=kind)
    with torch.no_grad():
        with stock_with(model, features, rope_of(kind)):
            stock = text_logits(model(**inputs).logits, inputs)
            tokens, margin = greedy(model, inputs)
        with intp_video.extend(model, FRAMES, rope=kind, **route):
            ours = text_logits(model(**inputs).logits, inputs)
            our_tokens, _ = greedy(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert margin > 10 * TOLERANCE, (
        "these inputs do not decide between tokens clearly enough to compare"
    )
    assert torch.equal(our_tokens, tokens)


def test_every_rope_kind_gives_its_own_logits(model):
    """What makes the comparison above worth something."""
    inputs = make_inputs(FRAMES)
    logits = []
    with torch.no_grad():
        for kind in ("none", "linear", "ntk", "yarn"):
            with intp_video.extend(model, FRAMES, rope=kind):
                logits.append(text_logits(model(**inputs).logits, inputs))
    for i, one in enumerate(logits):
        for other in logits[i + 1 :]:
            assert (one - other).abs().max() > 1e-3


def visual_positions_by_hand(inputs, factor):
    """float32 [B, S]: walk each row; a visual token is a step of 1/factor, text a step of 1."""
    rows = []
    for ids, mask in zip(
        inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True
    ):
        at, row = 0.0, []
        for token, kept in zip(ids, mask, strict=True):
            row.append(at)
            if kept:
                at += 1 / factor if token == VIDEO else 1.0
        rows.append(row)
    return torch.tensor(rows, device=inputs["input_ids"].device)


@pytest.mark.parametrize("route", ROUTES)
def test_span_visual_equals_stock_at_fractional_positions(model, route):
    inputs = make_inputs(FRAMES, side="left")
    features, _ = features_of(model, inputs, frames=FRAMES, rope="linear")
    by_hand = visual_positions_by_hand(inputs, FACTOR)

    def stretch(position_ids):
        if position_ids.shape[1] == by_hand.shape[1]:
            return by_hand
        visual = FRAMES * TOKENS_PER_FRAME  # decoding: every visual token lies behind
        return position_ids - visual * (1 - 1 / FACTOR)

    rope = intp_ext.rope_frequencies("none", HEAD_DIM)
    with torch.no_grad():
        with stock_with(model, features, rope, stretch):
            stock = text_logits(model(**inputs).logits, inputs)
            tokens, margin = greedy(model, inputs)
        with intp_video.extend(model, FRAMES, rope="linear", span="visual", **route):
            positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            ours = text_logits(model(**inputs, position_ids=positions).logits, inputs)
            our_tokens, _ = greedy(model, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert margin > 10 * TOLERANCE
    assert torch.equal(our_tokens, tokens)


@pytest.mark.parametrize("route", ROUTES)
def test_window_equals_stock_with_the_mask_of_the_definition(model, route):
    """Every row and column of the mask is decided by the rule, written as a slow loop."""
    inputs = make_inputs(FRAMES, texts=((3, 4), (5, 6)), side="left")
    frames_seen, sink = 3, 7
    features, handle = features_of(model, inputs, frames=FRAMES, rope="ntk")
    seen = []
    for ids, mask in zip(
        inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True
    ):
        lo, start = mask.index(1), ids.index(VIDEO)
        end = len(ids) - ids[::-1].index(VIDEO)
        rows = []
        for i in range(len(ids)):
            frame_i = (i - start) // TOKENS_PER_FRAME
            rows.append(
                [
                    lo <= j <= i
                    and (
                        i >= end
                        or j - lo < sink
                        or (j - start) // TOKENS_PER_FRAME > frame_i - frames_seen
                    )
                    for j in range(len(ids))
                ]
            )
        seen.append(rows)
    seen = torch.tensor(seen, device=model.device)[:, None]  # [B, 1, S, S]
    bias = torch.zeros(seen.shape, device=seen.device).masked_fill(
        ~seen, torch.finfo(torch.float32).min
    )
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        rope = intp_ext.rope_frequencies("ntk", HEAD_DIM, factor=handle.factor)
        with stock_with(model, features, rope):
            masked = {**inputs, "attention_mask": bias}
            stock = text_logits(model(**masked, position_ids=positions).logits, inputs)
        options = {"rope": "ntk", "window": frames_seen, "sink": sink, **route}
        with intp_video.extend(model, FRAMES, **options):
            ours = text_logits(model(**inputs, position_ids=positions).logits, inputs)
        with intp_video.extend(model, FRAMES, rope="ntk", **route):
            unwindowed = text_logits(model(**inputs, position_ids=positions).logits, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert (ours - unwindowed).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options",
    [{}, {"window": 3}, {"rope": "linear", "span": "visual"}, {"rope": "dynamic_ntk"}],
    ids=["plain", "window", "span-visual", "dynamic_ntk"],
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_chunked_prefill_equals_one_pass(model, options, fused):
    """Chunks that cut through the video, decoded further; transformers 5 encodes the video
    beforehand."""
    inputs = make_inputs(FRAMES)
    arguments = {"max_new_tokens": 6, "do_sample": False}
    if not prefills_video_in_chunks(model):
        pytest.skip("this transformers cannot cut a prompt through its video")
    with intp_video.extend(model, FRAMES, fused=fused, **options):
        whole = model.generate(**inputs, **arguments)
        chunked = model.generate(**inputs, prefill_chunk_size=23, **arguments)
    assert torch.equal(chunked, whole)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("options", [{"window": 3}, {"rope": "linear", "span": "visual"}])
def test_decoding_equals_one_pass_over_the_answer(model, options, cache):
    """Token by token over a cache, or the whole conversation at once: the same logits."""
    inputs = make_inputs(FRAMES, texts=((4, 5),))
    with torch.no_grad(), intp_video.extend(model, FRAMES, **options):
        output = model.generate(
            **inputs,
            max_new_tokens=6,
            do_sample=False,
            cache_implementation=cache,
            return_dict_in_generate=True,
            output_logits=True,
        )
        ids = output.sequences
        whole = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values_videos=inputs["pixel_values_videos"],
        ).logits
    step_by_step = torch.stack(output.logits, dim=1)  # [B, T, V]
    torch.testing.assert_close(step_by_step, whole[:, -7:-1], rtol=0, atol=TOLERANCE)


def test_multi_head_attention_without_gqa():
    model = make_model(num_key_value_heads=4)
    inputs = make_inputs(FRAMES)
    features, handle = features_of(model, inputs, frames=FRAMES)
    rope = intp_ext.rope_frequencies("ntk", HEAD_DIM, factor=handle.factor)
    with torch.no_grad():
        with stock_with(model, features, rope):
            stock = text_logits(model(**inputs).logits, inputs)
        with intp_video.extend(model, FRAMES, rope="ntk"):
            ours = text_logits(model(**inputs).logits, inputs)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
