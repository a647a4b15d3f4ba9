"""WatchedVideo: several questions on one prefill are several calls of ask."""

from __future__ import annotations

import functools
from unittest.mock import patch

import intp_video
import pytest
import torch
from hf.processing_cases import QUESTION
from hf.test_prepare_families import load, make_clip
from hf.test_session_families import family  # noqa: F401  a fixture
from hf.tiny_families import FAMILIES
from intp_video import ModelError
from intp_video.generation import Scoring, generate
from intp_video.models import family_for
from intp_video.watching import WatchedVideo
from transformers import LogitsProcessorList

QUESTIONS = (QUESTION, "Why?", "When did it happen, and where?", QUESTION)
FORGETTING = ("qwen3_5", "qwen3_5_moe", "gemma4", "exaone4_5")  # recurrent or sliding layers
OPTIONS = ({}, {"window": 4}, {"kv_bits": 8}, {"rope": "linear", "factor": 3.0})


def named(name):
    return load(next(known for known in FAMILIES if known.name == name))


def encodings(model, error=None):
    """A list that grows with every call of the model's own encoder, which may fail."""
    about = family_for(model.config)
    module = about.multimodal_module(model)
    own, calls = getattr(module, about.encoder), []

    @functools.wraps(own)  # generate() reads the signature
    def encode(*args, **kwargs):
        calls.append(1)
        if error is not None:
            raise error
        return own(*args, **kwargs)

    setattr(module, about.encoder, encode)
    return calls


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_answers_are_those_of_ask(family, options):  # noqa: F811
    model, preparer = load(family)
    clip, calls = make_clip(16), encodings(model)
    try:
        apart = {
            q: intp_video.ask(model, preparer, clip, q, 16, max_new_tokens=6, **options).text
            for q in dict.fromkeys(QUESTIONS)
        }
    except ValueError as refused:  # a window, or packed keys, beside layers that forget
        assert family.name in FORGETTING and options.keys() & {"window", "kv_bits"}
        pytest.skip(str(refused))
    once, rest = divmod(len(calls), len(apart))
    assert rest == 0
    calls.clear()
    with WatchedVideo(model, preparer, clip, **options) as video:
        together = [video.ask(q, max_new_tokens=6) for q in QUESTIONS]
        assert video.shares_prefill == (family.name not in FORGETTING)
    assert len(calls) == once * (1 if video.shares_prefill else len(QUESTIONS))
    if options.get("kv_bits") is None:
        assert together == [apart[q] for q in QUESTIONS]
    assert together[0] == together[-1]  # nothing is left behind
    intp_video.extend(model).restore()


def test_a_stretch_that_follows_the_question_is_not_shared():
    model, preparer = named("llava_next_video")
    clip = make_clip(16)
    expected = intp_video.ask(
        model, preparer, clip, QUESTION, max_new_tokens=6, rope="dynamic_ntk"
    ).text
    with WatchedVideo(model, preparer, clip, rope="dynamic_ntk") as video:
        assert not video.shares_prefill
        assert video.ask(QUESTION, max_new_tokens=6) == expected


def test_memory_is_that_of_the_video_and_one_question():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        layer = video._cache.layers[0]
        length, memory = layer.get_seq_length(), None
        for question in QUESTIONS:
            video.ask(question, max_new_tokens=6)
            assert layer.get_seq_length() == length
            assert memory in (None, layer.keys.data_ptr())  # written over, not copied
            memory = layer.keys.data_ptr()


def test_an_answer_that_is_interrupted_leaves_the_video_as_it_was():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        expected = video.ask(QUESTION, max_new_tokens=6)
        last = model.model.language_model.layers[-1].mlp
        with (
            patch.object(type(last), "forward", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            video.ask("Why?")
        assert video.ask(QUESTION, max_new_tokens=6) == expected


def test_a_video_that_cannot_be_watched_leaves_the_model_as_it_was():
    model, preparer = named("llava_next_video")
    encodings(model, error=RuntimeError("full"))
    with pytest.raises(RuntimeError, match="full"):
        WatchedVideo(model, preparer, make_clip(16))
    intp_video.extend(model).restore()


def test_a_closed_video_says_so():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        video.close()
    for call in (lambda: video.ask("Why?"), video.close):
        with pytest.raises(ModelError, match="closed already"):
            call()


def scored_in_one_pass(model, preparer, clip, ids):
    """What :class:`Scoring` says without a cache of the video."""
    size = preparer.frame_size(clip)
    scoring = Scoring(ids)
    with intp_video.extend(model, len(clip), **({} if size is None else {"frame_size": size})):
        inputs = preparer(clip, QUESTION)
        greedy = generate(model, inputs, len(ids))
        generate(model, inputs, len(ids), logits_processor=LogitsProcessorList([scoring]))
        best = Scoring(greedy)
        generate(model, inputs, len(greedy), logits_processor=LogitsProcessorList([best]))
    assert best.is_greedy
    return scoring.log_likelihood, scoring.is_greedy, len(ids)


def test_a_score_is_that_of_one_pass(family):  # noqa: F811
    model, preparer = load(family)
    clip, text = make_clip(16), "When did it"
    ids = preparer.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
    expected = scored_in_one_pass(model, preparer, clip, ids)
    with WatchedVideo(model, preparer, clip) as video:
        said = video.ask(QUESTION, max_new_tokens=4)
        for written in (text, f" {text}\n"):
            total, *more = video.score(QUESTION, written)
            assert total == pytest.approx(expected[0], rel=1e-3)
            assert tuple(more) == expected[1:]
        assert video.ask(QUESTION, max_new_tokens=4) == said  # nothing is left behind


def test_what_has_no_score():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        with pytest.raises(ValueError, match="expected text, got ' '"):
            video.score(QUESTION, " ")
        video.close()
        with pytest.raises(ModelError, match="closed already"):
            video.score(QUESTION, "Why")


def test_a_score_is_the_sum_of_log_probabilities():
    model, preparer = named("llava_next_video")
    clip, text = make_clip(16), "Why"
    inputs = preparer(clip, QUESTION)
    ids = preparer.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    whole = {**inputs, "input_ids": torch.cat((inputs["input_ids"], ids), dim=1)}
    whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    with torch.no_grad(), intp_video.extend(model, 16):
        logits = model(**whole).logits[0, -ids.shape[1] - 1 : -1].float()
    expected = logits.log_softmax(-1).gather(1, ids[0][:, None]).sum().item()
    with WatchedVideo(model, preparer, clip) as video:
        total, greedy, count = video.score(QUESTION, text)
    assert total == pytest.approx(expected, rel=1e-4) and count == ids.shape[1]
    assert greedy == bool((logits.argmax(-1) == ids[0]).all())
