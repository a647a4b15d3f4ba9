"""Answers as they are decoded: the pieces, joined, are the answer; nothing is left behind."""

from __future__ import annotations

import functools
import subprocess
import sys
import threading
from contextlib import nullcontext
from unittest.mock import patch

import intp_video
import pytest
import torch
from hf.processing_cases import QUESTION
from hf.test_prepare_families import load, make_clip
from hf.tiny_families import FAMILIES
from intp_video import ModelError, Session
from intp_video.generation import StageClock
from intp_video.streaming import AnswerStream, TextPieces
from intp_video.watching import WatchedVideo

LENGTH = {"max_new_tokens": 12}


@pytest.fixture(params=["video_llava", "qwen2_5_vl", "qwen3_vl"])
def loaded(request):
    return load(next(family for family in FAMILIES if family.name == request.param))


def test_the_pieces_are_the_answer(loaded):
    model, preparer = loaded
    clip = make_clip(16)
    whole = intp_video.ask(model, preparer, clip, QUESTION, **LENGTH)
    stream = intp_video.ask(model, preparer, clip, QUESTION, stream=True, **LENGTH)
    with pytest.raises(RuntimeError, match="no result before its last piece"):
        _ = stream.result
    pieces = list(stream)
    assert all(pieces) and "".join(pieces) == whole.text
    assert stream.result.token_ids == whole.token_ids
    assert stream.result.seconds.keys() == whole.seconds.keys()
    said = []
    intp_video.ask(model, preparer, clip, QUESTION, on_text=said.append, **LENGTH)
    assert [piece for piece in said if piece] == pieces
    intp_video.extend(model).restore()  # nothing was left behind


def test_nothing_is_done_before_the_first_piece_is_asked_for(loaded):
    model, preparer = loaded
    intp_video.ask(model, preparer, make_clip(16), QUESTION, stream=True, **LENGTH)
    intp_video.extend(model).restore()


@pytest.mark.parametrize("leave", ["close", "with", "del"])
def test_a_stream_that_is_left_frees_the_model(loaded, leave):
    model, preparer = loaded
    stream = intp_video.ask(
        model, preparer, make_clip(16), QUESTION, stream=True, max_new_tokens=5000
    )
    next(stream)
    thread = stream._thread
    if leave == "close":
        stream.close()
    elif leave == "with":
        with stream:
            pass
    else:
        del stream
        thread.join(60)
    assert not thread.is_alive()
    intp_video.extend(model).restore()
    if leave != "del":
        assert list(stream) == []
        with pytest.raises(RuntimeError, match="no result"):
            _ = stream.result


@pytest.mark.parametrize("error", [None, KeyError("mine"), KeyboardInterrupt()])
def test_a_loop_that_ends_early_frees_the_model(loaded, error):
    model, preparer = loaded
    clip, long = make_clip(16), {"stream": True, "max_new_tokens": 5000}

    for who in ("model", "video"):
        with WatchedVideo(model, preparer, clip) if who == "video" else nullcontext() as video:
            ask = functools.partial(intp_video.ask, model, preparer, clip)
            if video is not None:
                ask = video.ask
            with nullcontext() if error is None else pytest.raises(type(error)):
                for _ in ask(QUESTION, **long):
                    if error is None:
                        break
                    raise error
            assert ask(QUESTION, **LENGTH)
        intp_video.extend(model).restore()


def test_python_ends_with_a_stream_that_is_read():
    program = """
import itertools, sys, torch
from intp_video.streaming import AnswerStream
def work(emit):
    for _ in itertools.count():
        emit(str(torch.rand(300, 300).inverse().sum()))
stream = AnswerStream(work)
next(stream)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_work_itself_may_close_its_stream(loaded):
    model, preparer = loaded
    stream = intp_video.ask(
        model,
        preparer,
        make_clip(16),
        QUESTION,
        stream=True,
        max_new_tokens=5000,
        on_token=lambda count: stream.close() if count == 3 else None,
    )
    assert len(list(stream)) <= 3
    stream.close()
    intp_video.extend(model).restore()


def test_an_interrupt_while_it_waits_frees_the_model(loaded):
    model, preparer = loaded
    stream = intp_video.ask(
        model, preparer, make_clip(16), QUESTION, stream=True, max_new_tokens=5000
    )
    next(stream)
    with (
        patch.object(stream, "_said", **{"get.side_effect": KeyboardInterrupt}),
        pytest.raises(KeyboardInterrupt),
    ):
        next(stream)
    intp_video.extend(model).restore()


def test_an_error_in_the_thread_is_the_readers(loaded):
    model, preparer = loaded
    stream = intp_video.ask(model, preparer, make_clip(16), QUESTION, stream=True, **LENGTH)
    with (
        patch.object(StageClock, "end", side_effect=MemoryError("full")),
        pytest.raises(MemoryError, match="full"),
    ):
        list(stream)
    assert list(stream) == []
    intp_video.extend(model).restore()


def test_bad_input_is_said_at_once(loaded):
    model, preparer = loaded
    with pytest.raises(ValueError, match="question: expected some text"):
        intp_video.ask(model, preparer, make_clip(16), "", stream=True)
    with pytest.raises(ValueError, match="on_text: expected without stream"):
        intp_video.ask(model, preparer, make_clip(16), QUESTION, stream=True, on_text=print)


def test_a_watched_video(loaded):
    model, preparer = loaded
    with WatchedVideo(model, preparer, make_clip(16)) as video:
        whole = video.ask(QUESTION, **LENGTH)
        stream = video.ask(QUESTION, stream=True, **LENGTH)
        assert "".join(stream) == stream.result == whole
        left = video.ask(QUESTION, stream=True, max_new_tokens=5000)
        next(left)
        for method in (video.ask, video.chat):
            with pytest.raises(ModelError, match="an answer is still being decoded"):
                method(QUESTION)
        left.close()
        assert video.ask(QUESTION, **LENGTH) == whole
        others = [video.ask(QUESTION, stream=True, max_new_tokens=5000) for _ in range(3)]
        next(others[1])
        with pytest.raises(ModelError, match="an answer is still being decoded"):
            next(others[2])
    assert not others[1]._thread.is_alive() and list(others[1]) == []  # ended by close()
    intp_video.extend(model).restore()


def test_a_session(loaded):
    model, preparer = loaded
    clip = make_clip(16)
    with Session(model, preparer, 32) as session:
        session.add(clip)
        whole = session.ask(QUESTION, **LENGTH)
        stream = session.ask(QUESTION, stream=True, max_new_tokens=5000)
        next(stream)
        with pytest.raises(ModelError, match=r"Session\.add: an answer is still being decoded"):
            session.add(clip)
        stream.close()
        assert "".join(session.ask(QUESTION, stream=True, **LENGTH)) == whole


# -- tokens into pieces ---------------------------------------------------------------------------


class Words:
    """Text of tokens that are words, or bytes of a character."""

    clean_up_tokenization_spaces = False

    def __init__(self, *tokens: bytes) -> None:
        self.tokens, self.tokenizer = tokens, self

    def text_of(self, ids: torch.Tensor) -> str:
        text = b"".join(self.tokens[i] for i in ids.tolist()).decode(errors="replace")
        if self.clean_up_tokenization_spaces:
            text = text.replace(" n't", "n't").replace(" ,", ",")
        return text.strip()


def pieces_of(words: Words) -> list[str]:
    said: list[str] = []
    pieces = TextPieces(words, said.append)
    pieces.put(torch.tensor([[7, 8, 9]]))  # the prompt
    for token in range(len(words.tokens)):
        pieces.put(torch.tensor([token]))
    pieces.end()
    assert "".join(said) == words.text_of(torch.arange(len(words.tokens)))
    return said


def test_space_and_half_characters_are_held_back():
    snow = "\N{SNOWMAN}".encode()
    words = Words(b" A", b" ", b"\n", snow[:1], snow[1:2], snow[2:], b"!", b" ")
    assert pieces_of(words) == ["", "A", "", "", "", "", " \n\N{SNOWMAN}", "!", "", ""]


def test_half_a_character_at_the_end_is_said():
    assert pieces_of(Words(b"A", b"\xe2")) == ["", "A", "", "\N{REPLACEMENT CHARACTER}"]


def test_a_tokenizer_that_cleans_up_changes_no_word_that_was_said():
    words = Words(b"I do", b" n", b"'t", b" ,", b" so")
    words.clean_up_tokenization_spaces = True
    assert pieces_of(words)[-1] == " so"


def test_it_is_whole_once_its_last_piece_was_read():
    whole = []

    def work(emit):
        for piece in "abc":
            emit(piece)
        return "abc"

    left, read = (AnswerStream(work, whole.append) for _ in range(2))
    next(left)
    left._thread.join()
    left.close()
    assert list(left) == [] and whole == []
    assert list(read) == ["a", "b", "c"] and whole == ["abc"]
    assert list(read) == [] and whole == ["abc"]


def test_pieces_come_while_the_work_goes_on():
    goes_on = threading.Event()

    def work(emit):
        emit("first")
        assert goes_on.wait(60)
        emit("")
        emit("last")
        return 5

    stream = AnswerStream(work)
    assert next(stream) == "first"
    goes_on.set()
    assert list(stream) == ["last"] and stream.result == 5
