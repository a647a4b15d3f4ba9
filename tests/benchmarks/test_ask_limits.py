"""The least work of a stage, against counts made by hand."""

from __future__ import annotations

import ask_limits
import intp_video
import pytest
import torch
from ask_models import SHAPES
from bench_ask import drawn_clip

import intp_ext

FRAMES = 8


@pytest.mark.parametrize(
    ("window", "pairs"),
    [
        (None, 10 * 11 // 2),
        (intp_ext.Window(3), 1 + 2 + 8 * 3),
        (intp_ext.Window(3, sink=1), 1 + 2 + 3 + 7 * 4),
    ],
    ids=str,
)
def test_attention_counts_what_is_seen(window, pairs):
    q, k, v = torch.zeros(1, 4, 10, 16), torch.zeros(1, 2, 10, 16), torch.zeros(1, 2, 10, 16)
    counter = ask_limits.FlopCounterMode(display=False, custom_mapping=ask_limits.FORMULAS)
    with torch.no_grad(), counter:
        intp_ext.attention(q, k, v, window=window)
    assert counter.get_total_flops() == pairs * 4 * (2 * 16 + 2 * 16)


@pytest.fixture(scope="module")
def asked():
    return SHAPES["qwen2_5_vl"]("tiny", torch.float32, torch.device("cpu"))


def counted(asked, cached: int = 0, **options) -> ask_limits.Work:
    inputs = asked.inputs(drawn_clip(FRAMES))
    with intp_video.extend(asked.model, FRAMES, rope=asked.rope, **options):
        return ask_limits.count(
            asked.model, lambda: asked.model.generate(**inputs, max_new_tokens=1), cached
        )


def test_prefill_is_the_products_of_the_decoder(asked):
    model = asked.model
    length = asked.inputs(drawn_clip(FRAMES))["input_ids"].shape[1]
    decoder = model.model.language_model
    products = sum(x.numel() for x in decoder.layers.parameters() if x.ndim == 2)
    head = model.get_output_embeddings().weight
    text = model.config.text_config
    pairs = length * (length + 1) // 2
    attention = text.num_hidden_layers * pairs * text.num_attention_heads * 4 * 128
    assert counted(asked).prefill == 2 * length * products + 2 * head.numel() + attention


def test_packed_keys_are_the_same_products_and_a_window_fewer(asked):
    whole = counted(asked)
    assert counted(asked, kv_bits=4) == whole
    windowed = counted(asked, window=1)
    assert windowed.encode == whole.encode > 0
    assert windowed.prefill < whole.prefill


def test_a_token_reads_the_weights_of_the_decoder_and_the_cache(asked):
    weights = sum(x.nbytes for x in asked.model.model.language_model.layers.parameters())
    weights += asked.model.get_output_embeddings().weight.nbytes
    assert counted(asked, cached=1000).token == weights + 1000


def test_seconds_at_the_peaks():
    work = ask_limits.Work(encode=4 * 10**9, prefill=10**9, token=3 * 10**9)
    peaks = {"peak_fp32_gflop_per_s": 2.0, "peak_bf16_gflop_per_s": 4.0, "peak_read_gb_per_s": 1.5}
    assert work.seconds(peaks, torch.float32) == {"encode": 2.0, "prefill": 0.5, "token": 2.0}
    assert work.seconds(peaks, torch.bfloat16)["encode"] == 1.0
