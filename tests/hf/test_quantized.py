"""Weights in 4 or 8 bits, by the library that is installed."""

from __future__ import annotations

import logging

import intp_video
import pytest
import torch
from hf.test_prepare_families import make_clip
from intp_video import ModelError, quantized
from intp_video.app.desk import stock_twin
from intp_video.batch import VideoAnswerer
from intp_video.checkpoint import Checkpoint

QUESTION = "was there a bar?"


@pytest.fixture(params=["bitsandbytes", "optimum-quanto"])
def library(request, monkeypatch):
    """Each of those that are installed, by itself."""
    module = quantized._LIBRARIES[request.param]
    if not (quantized._is_installed(module) and quantized._is_installed("accelerate")):
        pytest.skip(f"no {request.param}, or no accelerate")
    monkeypatch.setattr(quantized, "_LIBRARIES", {request.param: module})
    monkeypatch.setattr(quantized, "_said", set())
    return request.param


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Of a model whose layers are multiples of 64 wide, as bitsandbytes needs them on a CPU."""
    return intp_video.make_random_model(tmp_path_factory.mktemp("models") / "small", "small")


@pytest.mark.parametrize("load_in", ["8bit", "4bit"])
def test_a_model_in_fewer_bits_answers(library, directory, load_in, caplog):
    stock, preparer = intp_video.load(directory)
    clip = make_clip(16)
    caplog.set_level(logging.WARNING, "intp_video")
    for _ in range(2):
        model, _ = intp_video.load(directory, load_in=load_in)
    said = [record.getMessage() for record in caplog.records if record.name == "intp_video"]
    assert said == [f"weights in {load_in[0]} bits by {library}"]  # once
    layers = [x.model.language_model.layers[0].mlp.up_proj for x in (stock, model)]
    assert type(layers[1]) is not type(layers[0])
    for options in ({}, {"kv_bits": 4}):
        answer = intp_video.ask(model, preparer, clip, QUESTION, 16, max_new_tokens=4, **options)
        assert len(answer.token_ids) == 4
    inputs = preparer(clip, QUESTION)
    logits = []
    for kind in (stock, model):
        with intp_video.extend(kind, 16), torch.no_grad():
            logits.append(kind(**inputs).logits[0, -1].float())
    assert torch.nn.functional.cosine_similarity(*logits, dim=0) > (
        0.8 if load_in == "4bit" else 0.99
    )


@pytest.mark.parametrize("load_in", ["8bit", "4bit"])
def test_the_page_asks_the_same_weights_as_they_are(library, directory, load_in):
    model, preparer = intp_video.load(directory, load_in=load_in)
    twin = stock_twin(model)
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert mine is other
    inputs = preparer(make_clip(8), QUESTION)
    with torch.no_grad():
        with intp_video.extend(model, 16):
            asked = twin(**inputs).logits
        assert torch.equal(asked, model(**inputs).logits)


def test_nothing_that_packs_weights_is_installed(monkeypatch):
    monkeypatch.setattr(quantized, "_is_installed", lambda module: False)
    with pytest.raises(ModelError, match="needs bitsandbytes or optimum-quanto and accelerate"):
        intp_video.load(intp_video.SMALL_MODEL, load_in="4bit")
    monkeypatch.setattr(quantized, "_is_installed", lambda module: module == "optimum.quanto")
    with pytest.raises(ModelError, match="'8bit' needs accelerate, not installed: pip install opt"):
        intp_video.load(intp_video.SMALL_MODEL, load_in="8bit")
    monkeypatch.setattr(quantized, "_is_installed", lambda module: module != "bitsandbytes")
    assert quantized.quantizer("4bit") == "optimum-quanto"


@pytest.mark.parametrize("make", [Checkpoint(intp_video.SMALL_MODEL).model, None])
def test_other_widths_are_refused(make):
    make = make or (lambda **loading: VideoAnswerer(intp_video.SMALL_MODEL, **loading))
    with pytest.raises(ValueError, match="load_in: expected one of 4bit, 8bit, got '3bit'"):
        make(load_in="3bit")
