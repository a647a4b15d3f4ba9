"""Session over every family: chunks of a video are one pass over the whole of it."""

from __future__ import annotations

from dataclasses import replace

import intp_video
import pytest
import torch
import transformers
from hf.processing_cases import QUESTION
from hf.test_prepare_families import load, make_clip
from hf.test_session import differences
from hf.tiny_families import FAMILIES
from hf.tiny_model import cache_of
from intp_video import ModelError, Session
from intp_video.models import FAMILIES as SUPPORTED

TOLERANCE = 1e-4  # of the spread of keys and values
CHUNKS = ((0, 8), (8, 24), (24, 32))
REFUSED = {
    "gemma4": "DynamicSlidingWindowLayer, from which no question can be taken back",
    "exaone4_5": "DynamicSlidingWindowLayer, from which no question can be taken back",
    "llava_onevision": "ends every video with a token of its own",
    "smolvlm": "tells the length of a video before its frames",
    "qwen3_5": "LinearAttentionLayer, from which no question can be taken back",
    "qwen3_5_moe": "LinearAttentionLayer, from which no question can be taken back",
}
RELEASE = tuple(map(int, transformers.__version__.split(".")[:2]))


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    if not request.param.available():
        pytest.skip(f"transformers {transformers.__version__} has no {request.param.name}")
    return request.param


def why_refused(family):
    config = getattr(transformers, family.classes[0])(**family.config())
    if SUPPORTED[family.name].rotates_pairs(config):
        return "turn in pairs of neighboring channels"
    if family.name in ("qwen2_vl", "qwen2_5_vl") and RELEASE in ((5, 3), (5, 4)):
        return "by how many frames follow it"
    return REFUSED.get(family.name)


def grows(family):
    if why_refused(family) is not None:
        pytest.skip("refused, see below")
    return load(family)


def full_pass(model, preparer, clip, factor, bits=16):
    """The answer, and the cache before the question."""
    inputs = preparer(clip, QUESTION)
    grouping = {"grouping": "contiguous"} if preparer.frames_per_group == 8 else {}
    with intp_video.extend(model, 32, factor=factor, kv_bits=bits, kv_rotate="on_read", **grouping):
        with torch.no_grad():
            cache = cache_of(model(**inputs))
        ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    return preparer.text_of(ids[0, inputs["input_ids"].shape[1] :]), cache


@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_with_one_factor_it_is_a_full_pass(family, factor):
    model, preparer = grows(family)
    clip = make_clip(32)
    answer, cache = full_pass(model, preparer, clip, factor)
    with Session(model, preparer, 32, factor=factor) as session:
        for begin, end in CHUNKS:
            session.add(clip.take(range(begin, end)))
            session.ask("Why?", max_new_tokens=3)  # leaves nothing behind
        assert session.frames == 32
        assert max(differences(session, cache)) < TOLERANCE
        for ours, theirs in zip(session._cache.layers, cache.layers, strict=True):
            shown = ours.cache.positions
            assert torch.equal(shown, theirs.cache.positions[..., : shown.shape[-1]])
        assert session.ask(QUESTION, max_new_tokens=6) == answer
        assert session.ask(QUESTION, max_new_tokens=6) == answer


def test_the_factor_follows_positions(family):
    """M-RoPE uses a few for a frame, and is not stretched for nothing."""
    model, preparer = grows(family)
    clip = make_clip(32)
    with Session(model, preparer, 32, kv_bits=8) as session:
        for begin, end in CHUNKS:
            session.add(clip.take(range(begin, end)))
        positions = session._cache.layers[0].cache.positions
        trained = model.config.text_config.max_position_embeddings
        before = int((session._video.shown() == preparer.video_token_id).nonzero()[0])
        assert positions.max() - before < trained * session.factor  # text before it is short
        if positions.shape[0] == 3 and family.between is None:
            assert session.factor < 1.1 and positions.shape[-1] > 4 * trained
        else:
            assert session.factor > 1.5
        assert isinstance(session.ask(QUESTION, max_new_tokens=4), str)


def test_times_go_on_after_those_before(family):
    """Clips that each begin at 0 make the video of one that does not."""
    model, preparer = grows(family)
    clip = make_clip(16)
    parts = [clip.take(range(begin, begin + 8)) for begin in (0, 8)]
    found = []
    for second in (parts[1], replace(parts[1], timestamps=parts[0].timestamps)):
        with Session(model, preparer, 16, rope="none") as session:
            session.add(parts[0])
            session.add(second)
            found.append((session._video.shown(), session.ask(QUESTION, max_new_tokens=4)))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


def test_families_that_cannot_grow_say_why(family):
    reason = why_refused(family)
    if reason is None:
        pytest.skip("it can grow, see above")
    model, preparer = load(family)
    with pytest.raises((ModelError, ValueError), match=reason):  # noqa: SIM117
        with Session(model, preparer, 32) as session:
            session.add(make_clip(8))
            session.add(make_clip(8))
    intp_video.extend(model).restore()


def test_layers_that_forget_are_refused():
    model, preparer = load(next(family for family in FAMILIES if family.name == "llava_next_video"))
    text = model.config.text_config
    text.sliding_window, text.layer_types = 16, ["sliding_attention"] * text.num_hidden_layers
    with pytest.raises(ModelError, match="DynamicSlidingWindowLayer, from which no question"):
        Session(model, preparer, 32)


def test_frames_of_another_size_leave_the_session_as_it_was():
    model, preparer = load(next(family for family in FAMILIES if family.name == "qwen2_5_vl"))
    clip = make_clip(8)
    turned = replace(clip, frames=clip.frames.transpose(0, 2, 1, 3)[:, :, :20])
    with Session(model, preparer, 32) as session:
        session.add(clip)
        answer = session.ask(QUESTION, max_new_tokens=6)
        with pytest.raises(ValueError, match="all frames of a video have one size"):
            session.add(turned)
        assert session.frames == 8
        assert session.ask(QUESTION, max_new_tokens=6) == answer


def test_frames_at_another_distance_are_refused():
    model, preparer = load(next(family for family in FAMILIES if family.name == "qwen2_5_vl"))
    clip = make_clip(8)
    with Session(model, preparer, 32) as session:
        session.add(clip)
        with pytest.raises(ValueError, match="seconds a unit as before"):
            session.add(replace(clip, timestamps=100 + 3 * clip.timestamps))
