"""bench_real_decoder: it finds what agrees and what does not, and says why it measures nothing."""

from __future__ import annotations

import json
from pathlib import Path

import bench_real_decoder
from hf.tiny_decoders import DECODERS, make_decoder, make_tokens
from intp_video.backend import attention
from intp_video.lab.real_model import decoder

RESULTS = Path(__file__).parents[2] / "benchmarks/results/amd-epyc-zen5-2core/real_decoder.json"


def agreements():
    model = make_decoder(DECODERS["gemma3"])
    return bench_real_decoder.agreements(model, make_tokens(1)["input_ids"], tokens=8)


def test_what_agrees():
    exact, rounded = agreements()
    assert (exact.dtype, exact.prompt) == (
        "float32",
        30,
    ) and exact.equal_tokens == exact.tokens == 8
    assert exact.stock_error == 0 < exact.error < 1e-5 < exact.largest_logit
    assert rounded.dtype == "bfloat16" and 1e-3 < rounded.error < 2 * rounded.stock_error


def test_what_does_not(monkeypatch):
    """A wrong scale in our attention, and nowhere else."""
    attend = attention.attend

    def sharper(q, k, v, bounds, scale, *others):
        return attend(q, k, v, bounds, 3 * scale, *others)

    monkeypatch.setattr(attention, "attend", sharper)
    exact, _ = agreements()
    assert exact.error > 1e-2 and exact.equal_tokens < exact.tokens


def test_what_is_missing_is_named(monkeypatch, capsys):
    monkeypatch.setattr(decoder, "PACKAGES", ("json", "a_package_of_tomorrow"))
    assert bench_real_decoder.main([]) == 0
    assert capsys.readouterr().err == (
        'skipped: a_package_of_tomorrow not installed: pip install "intp-ext[bench]"\n'
    )


def test_the_published_tokens_are_those_of_sdpa():
    exact, rounded = json.loads(RESULTS.read_text())["results"]
    assert exact["dtype"] == "float32" and exact["prompt"] > 512  # its window
    assert exact["equal_tokens"] == exact["tokens"] == 200
    assert exact["error"] < 1e-5 * exact["largest_logit"]
    assert rounded["error"] < 2 * rounded["stock_error"]
