"""Questions at the one model: answers, turns, what is kept, and how it ends."""

import itertools
import threading
from dataclasses import replace

import intp_video
import pytest
import torch
from app.example import CHOICE
from intp_video import ModelError
from intp_video.app.answers import exchange_html
from intp_video.app.desk import Desk, stock_twin
from intp_video.generation import generate
from intp_video.video import Part

QUESTION = "which shape came first?"


def ask(desk, shown, question=QUESTION, compare=True):
    return list(desk.ask(shown, question, compare))


def test_both_answers_are_those_of_the_package(desk, projector, path, loaded):
    shown = projector.show(path, CHOICE)
    said = ask(desk, shown)[-1]
    desk.close()
    model, preparer = loaded
    expected = intp_video.ask(model, preparer, path, QUESTION, 32, max_new_tokens=8)
    stock = generate(model, preparer(shown.short, QUESTION), 8)
    assert said.extended.text == expected.text and said.stock.text == preparer.text_of(stock)
    assert said.extended.done and said.stock.done and not said.running
    assert (said.extended.frames, said.stock.frames) == (32, 8)
    assert list(said.extended.seconds) == ["encode", "prefill", "read the question", "generate"]
    assert len(said.extended.looked) == 32 and 0 < sum(said.extended.looked) < 1


def test_the_answer_about_a_part_is_that_of_the_package(desk, projector, path, loaded):
    part = {"start": 2.0, "end": 7.0, "fps": 3.0}
    said = ask(desk, projector.show(path, replace(CHOICE, part=Part(**part))), compare=False)[-1]
    desk.close()
    expected = intp_video.ask(*loaded, path, QUESTION, 32, max_new_tokens=8, **part)
    assert (said.extended.text, said.extended.frames) == (expected.text, expected.frames)
    assert expected.frames == 16


def test_the_answer_comes_as_it_is_made(loaded, projector, path):
    desk, texts = Desk(*loaded, max_new_tokens=8), []
    for said in desk.ask(projector.show(path, CHOICE), QUESTION, compare=False):
        assert said.stock is None
        texts.append(said.extended.text)
    desk.close()
    assert texts[0] == "" and texts[-1]
    assert all(later.startswith(sooner) for sooner, later in itertools.pairwise(texts))


def test_a_second_question_shares_the_prefill(desk, projector, path):
    shown = projector.show(path, CHOICE)
    first = ask(desk, shown)[-1].extended
    again = ask(desk, shown)[-1].extended
    assert not first.reused and again.reused and again.text == first.text
    assert list(again.seconds) == ["read the question", "generate"]
    assert again.looked == pytest.approx(first.looked)


def test_another_choice_is_prefilled_anew(desk, projector, path):
    shown = projector.show(path, CHOICE)
    ask(desk, shown, compare=False)
    other = projector.show(path, replace(CHOICE, kv_bits=4), shown)
    said = ask(desk, other, compare=False)[-1].extended
    assert not said.reused and "prefill" in said.seconds
    assert said.looked == ()  # packed keys cannot be looked at


def test_two_pages_take_turns_and_do_not_mix(desk, projector, path):
    pages = [
        projector.show(path, CHOICE),
        projector.show(path, replace(CHOICE, frames=8, window=2)),
    ]
    alone = [ask(desk, shown)[-1] for shown in pages]
    together = [None, None]

    def page(number):
        together[number] = ask(desk, pages[number])

    threads = [threading.Thread(target=page, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for told, expected in zip(together, alone, strict=True):
        assert told[-1].extended.text == expected.extended.text
        assert told[-1].stock.text == expected.stock.text
        assert len(told[-1].extended.looked) == told[-1].extended.frames


def test_a_page_that_waits_is_told_so_and_may_leave(desk, projector, path):
    shown = projector.show(path, CHOICE)
    with desk._turn:
        waiting = desk.ask(shown, QUESTION)
        assert next(waiting).extended.stage == "begin"
        assert next(waiting).extended.stage == "wait for another page"
        waiting.close()
    assert ask(desk, shown)[-1].extended.done


def test_an_answer_that_nobody_follows_ends_and_the_next_one_is_right(desk, projector, path):
    shown = projector.show(path, CHOICE)
    expected = ask(desk, shown)[-1].extended.text
    for _ in range(3):
        begun = desk.ask(shown, QUESTION)
        next(begun)
        next(begun)
        begun.close()
        assert ask(desk, shown)[-1].extended.text == expected
    assert not desk._running


def test_it_leaves_the_model_as_it_was(loaded, projector, path):
    model, preparer = loaded
    desk = Desk(model, preparer)
    ask(desk, projector.show(path, CHOICE))
    desk.close()
    intp_video.extend(model, 8).restore()


def test_a_bad_question_or_option_is_said_before_anything_runs(desk, projector, path):
    shown = projector.show(path, CHOICE)
    for question in ("", "  ", "<video>"):
        with pytest.raises(ValueError, match="question: expected"):
            ask(desk, shown, question)
    with pytest.raises(ValueError, match="rope"):
        desk.check(8, replace(CHOICE, rope="other"))
    assert desk._video is None


def test_the_twin_is_a_stock_model_over_the_same_weights(loaded):
    model, _ = loaded
    twin = stock_twin(model)
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert mine is other
    ids = torch.tensor([[1, 5, 9, 12]])
    with torch.no_grad(), intp_video.extend(model, 64):
        extended = model(input_ids=ids).logits
        stock = twin(input_ids=ids).logits
        with pytest.raises(ModelError, match="not extended"):
            stock_twin(model)
    assert torch.equal(stock, model(input_ids=ids).logits) and not torch.equal(stock, extended)


def test_answers_are_drawn_as_text(desk, projector, path):
    shown = projector.show(path, CHOICE)
    *_, said = ask(desk, shown)
    drawn = exchange_html(replace(said, question="<b>?", error="it <stopped>"), shown)
    assert "&lt;b&gt;?" in drawn and "it &lt;stopped&gt;" in drawn
    assert drawn.count("<section") == 2 and "Looked at" in drawn
    assert "iv-caret" not in drawn
    begun = replace(said.extended, text="ba", stage="generate", done=False)
    assert "ba<i class='iv-caret'>" in exchange_html(replace(said, extended=begun), shown)
