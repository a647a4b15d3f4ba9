"""Turns about one video: each is the answer to a prompt with all turns before it."""

from __future__ import annotations

import intp_video
import pytest
from hf.processing_cases import QUESTION
from hf.test_prepare_families import load, make_clip
from hf.test_session_families import family, why_refused  # noqa: F401  a fixture
from hf.test_watched_video import encodings, named
from intp_video import Session
from intp_video.processing.prompt import VICUNA
from intp_video.processing.smolvlm import SmolvlmProcessing
from intp_video.watching import WatchedVideo
from video.make_videos import write_video

QUESTIONS = (QUESTION, "Why?", "And then?")
LENGTH = {"max_new_tokens": 5}


def test_a_turn_is_the_answer_to_all_turns(family):  # noqa: F811
    model, preparer = load(family)
    clip = make_clip(16)
    expected: list[tuple[str, str]] = []
    for question in QUESTIONS:
        answer = intp_video.ask(model, preparer, clip, question, 32, history=expected, **LENGTH)
        expected.append((question, answer.text))
    calls = encodings(model)
    with WatchedVideo(model, preparer, clip, 32) as video:
        once = len(calls)
        assert [video.chat(question, **LENGTH) for question in QUESTIONS] == [
            answer for _, answer in expected
        ]
        assert video.turns == tuple(expected)
        if video.shares_prefill:
            assert len(calls) == once
        alone = video.ask(QUESTION, **LENGTH)
        assert alone == expected[0][1]  # whatever was said before
        assert video.turns == tuple(expected)  # and it is no turn
        video.forget()
        assert video.chat(QUESTION, **LENGTH) == alone and len(video.turns) == 1


def test_a_session_goes_on_when_frames_come(family):  # noqa: F811
    if why_refused(family) is not None:
        pytest.skip("no session")
    model, preparer = load(family)
    clip = make_clip(32)
    first, last = clip.take(range(16)), clip.take(range(16, 32))
    with Session(model, preparer, 32, factor=2.0) as session:
        session.add(first)
        session.chat(QUESTION, **LENGTH)
        session.add(last)
        turns = session.turns
        said = session.chat("Why?", **LENGTH)
    with Session(model, preparer, 32, factor=2.0) as session:
        session.add(first)
        session.add(last)
        session._turns += turns
        assert session.chat("Why?", **LENGTH) == said


def test_a_turn_that_fails_or_is_closed_is_not_kept():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        first = video.chat(QUESTION, **LENGTH)
        with pytest.raises(ValueError, match=r"WatchedVideo\.chat: question: expected some text"):
            video.chat(" ")
        stream = video.chat("Why?", stream=True, max_new_tokens=5000)
        next(stream)
        stream.close()
        assert video.turns == ((QUESTION, first),)
        stream = video.chat("Why?", stream=True, **LENGTH)
        next(stream)
        stream._thread.join()  # whole, and nobody has read that
        stream.close()
        assert video.turns == ((QUESTION, first),)
        stream = video.chat("Why?", stream=True, **LENGTH)
        assert video.turns[1:] == ()
        assert "".join(stream) == stream.result
        assert video.turns[1:] == (("Why?", stream.result),)


def test_prompts_without_a_template():
    history = (("Who {is} there?", "A {cat}."), ("Why?", "No idea."))
    assert VICUNA.of("<video>", "And then?", history, "</s>") == (
        "USER: <video>\nWho {is} there? ASSISTANT: A {cat}.</s>USER: Why? ASSISTANT: No idea.</s>"
        "USER: And then? ASSISTANT:"
    )
    processing = object.__new__(SmolvlmProcessing)
    assert processing._prompt("<video>", "And then?", None, history[1:]) == (
        "<|im_start|>User: <video>Why?<end_of_utterance>\nAssistant: No idea.<end_of_utterance>\n"
        "User: And then?<end_of_utterance>\nAssistant:"
    )


def test_a_session_reads_parts_of_a_file(tmp_path):
    path = write_video(tmp_path / "v.mp4", 60)
    model, preparer = intp_video.load(intp_video.SMALL_MODEL)
    with Session(model, preparer, 64) as session:
        session.add(path, frames=13, end=2)
        assert session.frames == 16  # whole groups
        session.add(str(path), start=2, end=4, fps=5)
        assert session.frames == 32 and session._last < 4
        with pytest.raises(intp_video.VideoError, match="end: expected at most 6 s"):
            session.add(path, frames=8, end=9)
        with pytest.raises(TypeError, match=r"Session\.add: start: expected with a video file"):
            session.add(make_clip(8), start=1)
        assert session.ask("was there a bar?", max_new_tokens=2)
