"""Session: a growing video, against one pass over the whole of it."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace

import intp_video
import pytest
import torch
from hf.tiny_model import BOS, TOKENS_PER_FRAME, VIDEO, cache_of
from intp_video import ModelError, Preparer, Session
from intp_video.processing.video_llava import VideoLlavaProcessing

from intp_ext import kv_cache

TOLERANCE = 1e-5


class Tokenizer:
    """A word is its number; <video> is the placeholder."""

    all_special_ids = (BOS, VIDEO)
    added_tokens_decoder = MappingProxyType({})
    unk_token_id = None

    def convert_ids_to_tokens(self, token):
        return "<video>"

    def __call__(self, text, return_tensors=None, add_special_tokens=True):
        question = text.split("\n")[-1].removesuffix(" ASSISTANT:")
        words = [int(word) for word in question.split() if word.isdigit()]
        if not add_special_tokens:
            return SimpleNamespace(input_ids=words)
        return SimpleNamespace(input_ids=torch.tensor([[BOS, 11, VIDEO, 12, *words, 13]]))

    def decode(self, ids, skip_special_tokens):
        return " ".join(map(str, ids.tolist()))


@pytest.fixture
def preparer():
    def process(frames):  # uint8 [M, 16, 16, 3] -> float [M, 3, 16, 16]
        return frames.permute(0, 3, 1, 2) / 64 - 2

    processing = VideoLlavaProcessing(
        placeholder_id=VIDEO, frame_processor=process, tokens_per_frame=TOKENS_PER_FRAME
    )
    return Preparer(Tokenizer(), processing)


def make_frames(count):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (count, 16, 16, 3), generator=generator, dtype=torch.uint8)


def full_pass(model, preparer, frames, factor, question):
    """The answer, and keys and values of every layer before the question, of one pass."""
    ids = preparer.prompt_ids(question, len(frames))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["pixel_values_videos"] = preparer.frame_processor(frames)[None]
    inputs = {name: x.to(model.device) for name, x in inputs.items()}
    with intp_video.extend(
        model, len(frames), factor=factor, grouping="contiguous", kv_bits=16, kv_rotate="on_read"
    ):
        with torch.no_grad():
            cache = cache_of(model(**inputs))
        answer = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, ids.shape[1] :]
    return preparer.tokenizer.decode(answer, True), cache


def differences(session, cache):
    """Of each layer: the largest difference of unrotated keys and values, over their spread."""
    found = []
    for ours, theirs in zip(session._cache.layers, cache.layers, strict=True):
        pairs = zip(ours.cache.dequantize(), theirs.cache.dequantize(), strict=True)
        length = ours.cache.length
        found.append(max(((a - b[:, :, :length]).abs().max() / b.std()).item() for a, b in pairs))
    return found


def watch(model, preparer, frames, **options):
    session = Session(model, preparer, 32, **options)
    for begin in (0, 8, 24):
        session.add(frames[begin : min(begin + 16, 32)] if begin else frames[:8])
        if begin < 24:
            session.ask("5 6", max_new_tokens=3)  # leaves nothing behind
    return session


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_with_one_factor_it_is_a_full_pass(model, preparer, factor):
    frames = make_frames(32)
    answer, cache = full_pass(model, preparer, frames, factor, "7 8 9")
    with watch(model, preparer, frames, factor=factor) as session:
        assert session.frames == 32 and session.factor == factor
        assert max(differences(session, cache)) < TOLERANCE
        assert session.ask("7 8 9", max_new_tokens=6) == answer
        assert session.ask("7 8 9", max_new_tokens=6) == answer


def test_what_is_stretched_far_enough_is_not_warned_about(model, preparer, caplog):
    frames = make_frames(64)
    with intp_video.Session(model, preparer, frames=64) as session:
        for start in range(0, 64, 16):
            session.add(frames[start : start + 16])
            session.ask("What?", max_new_tokens=2)
        assert session.factor > 4
    assert "grows beyond" not in caplog.text


def test_with_a_growing_factor_deeper_layers_are_an_approximation(model, preparer):
    """The first layer is exact; what the second is off by is measured, and far from a video that
    was never stretched again."""
    frames = make_frames(32)
    with watch(model, preparer, frames) as session:
        factor = session.factor
    assert factor == pytest.approx((32 * TOKENS_PER_FRAME + 24) / 64)
    _, cache = full_pass(model, preparer, frames, factor, "7 8 9")
    first, second = differences(session, cache)
    assert first < TOLERANCE
    assert TOLERANCE < second < 2.0


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_questions_leave_a_packed_video_as_it_was(model, preparer, bits, monkeypatch):
    monkeypatch.setattr(kv_cache, "RECENT", 0)  # of so short a video, most would be
    frames = make_frames(16)
    with Session(model, preparer, 32, kv_bits=bits) as session:
        session.add(frames)
        before = [layer.cache.state_dict() for layer in session._cache.layers]
        first = session.ask("7 8 9", max_new_tokens=70)  # completes a group, and more
        after = [layer.cache.state_dict() for layer in session._cache.layers]
        assert session.ask("7 8 9", max_new_tokens=70) == first
        assert 0 < session.nbytes < 2 * 2 * 4 * 16 * 2 * (16 * TOKENS_PER_FRAME + 2)
    for a, b in zip(before, after, strict=True):
        assert a["length"] == b["length"]
        assert all(torch.equal(x, b["tensors"][name]) for name, x in a["tensors"].items())


def test_bad_input(model, preparer):
    with Session(model, preparer, 16) as session:
        with pytest.raises(ValueError, match="frames first"):
            session.ask("7")
        with pytest.raises(ValueError, match="whole groups of 8 frames, got 9"):
            session.add(make_frames(9))
        for frames in (None, 5, torch.tensor(3)):
            with pytest.raises(TypeError, match="clip: expected a Clip or frames"):
                session.add(frames)
        session.add(make_frames(8))
        with pytest.raises(ValueError, match=r"Session\.ask: max_new_tokens: expected 1 to"):
            session.ask("7", max_new_tokens=0)
        with pytest.raises(TypeError, match="max_new_tokens: expected an int, got float"):
            session.ask("7", max_new_tokens=2.5)
        with pytest.raises(ValueError, match="at most 16 frames in all, got 8 and 16"):
            session.add(make_frames(16))
        assert session.frames == 8
    with pytest.raises(ModelError, match="restored already"):
        session.close()
    with pytest.raises(ModelError, match=r"Session\.add: the session is closed"):
        session.add(make_frames(8))
    with pytest.raises(ModelError, match=r"Session\.ask: the session is closed"):
        session.ask("7")
    for options in ({"rope": "dynamic_ntk"}, {"span": "visual"}, {"kv_bits": 5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Session(model, preparer, 16, **options)
    intp_video.extend(model).restore()


@pytest.mark.parametrize("bits", [16, 4])
def test_an_add_that_is_interrupted_leaves_the_session_as_it_was(
    model, preparer, bits, monkeypatch
):
    """In the second layer of the prefill: the first one has its keys already."""
    frames = make_frames(32)
    mlp = model.model.language_model.layers[1].mlp

    def interrupt(*args):
        raise KeyboardInterrupt

    with Session(model, preparer, 32, kv_bits=bits) as session:
        for begin in (0, 16):
            factor, tokens = session.factor, session._cache.get_seq_length()
            monkeypatch.setattr(mlp, "forward", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.add(frames[begin : begin + 16])
            monkeypatch.undo()
            assert (session.frames, session.factor) == (begin, factor)
            assert session._cache.get_seq_length() == tokens
            session.add(frames[begin : begin + 16])
        interrupted = session.ask("7 8 9", max_new_tokens=6)
        states = [layer.cache.state_dict() for layer in session._cache.layers]
    with Session(model, preparer, 32, kv_bits=bits) as session:
        session.add(frames[:16])
        session.add(frames[16:])
        assert session.ask("7 8 9", max_new_tokens=6) == interrupted
        for layer, state in zip(session._cache.layers, states, strict=True):
            expected = layer.cache.state_dict()
            assert all(torch.equal(x, expected["tensors"][n]) for n, x in state["tensors"].items())


def test_a_clip_that_is_refused_leaves_the_session_as_it_was(model, preparer):
    with Session(model, preparer, 32) as session:
        session.add(make_frames(8))
        factor, answer = session.factor, session.ask("7 8 9", max_new_tokens=6)
        with pytest.raises((ValueError, RuntimeError, TypeError)):
            session.add(torch.zeros(8, 16, 16, 4, dtype=torch.uint8))  # four colors
        assert (session.frames, session.factor) == (8, factor)
        assert session.ask("7 8 9", max_new_tokens=6) == answer


def test_restretch_needs_unrotated_keys(model):
    with (
        intp_video.extend(model, 8, kv_bits=4) as handle,
        pytest.raises(ModelError, match="on_read"),
    ):
        handle.restretch(None, 2.0)
