"""The page itself, asked by Gradio's own client; what it looks like was looked at in a browser."""

import pytest

gradio = pytest.importorskip("gradio", reason="the page needs gradio (the extra app)")

from app.example import CHOICE  # noqa: E402
from intp_video.app.page import Example, Page, launch, make_page  # noqa: E402


@pytest.fixture
def page(desk, projector, path):
    return Page(desk, projector, "a <model>", CHOICE, Example(path, ["which came first?"]))


def handler(blocks, name):
    return next(f.fn for f in blocks.fns.values() if getattr(f.fn, "__name__", "") == name)


@pytest.fixture
def show(page):
    return handler(make_page(page), "show")


@pytest.fixture
def answer(page):
    return handler(make_page(page), "answer")


def after_all(steps):
    """What stands on the page after the last of them; what a step skips stays."""
    *_, last = steps
    return last


def chosen(**changes):
    choice = {"frames": 32, "window": 0, "rope": "yarn", "kv_bits": 16}
    choice |= {"start": "", "end": "", "fps": ""} | changes
    return choice.values()


def test_it_is_served_to_this_machine_and_names_nothing_of_the_network(page):
    import urllib.request

    blocks = make_page(page)
    address = launch(blocks, None)
    try:
        assert address.startswith("http://127.0.0.1:")
        text = urllib.request.urlopen(address, timeout=60).read().decode()
    finally:
        blocks.close(verbose=False)
    assert "a &lt;model&gt;" in text or "a \\u0026lt;model" in text
    for fetched in ("fonts.googleapis.com", "cdnjs.cloudflare.com", "fonts.gstatic.com"):
        assert fetched not in text


def test_a_video_is_shown_before_anything_runs(show, page, path):
    shown, said, message, _, plan, strip, *_ = after_all(show(path, *chosen(window=4), None, ()))
    assert len(shown.clip) == 32 and shown.choice.window == 4
    assert (said, message) == ((), "") and "tokens" in plan and "iv-cells" in strip
    assert page.desk._video is None


def test_a_file_that_is_no_video_is_a_message(show, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(bytes(1000))
    shown, _, message, *_ = after_all(show(str(bad), *chosen(), None, ()))
    assert shown is None and "cannot read video" in message
    assert "bad.mp4" in message and str(tmp_path) not in message and "Traceback" not in message


def test_a_choice_that_cannot_be_leaves_the_page_as_it_was(show, path):
    shown = after_all(show(path, *chosen(), None, ()))[0]
    kept, said, message, *_ = after_all(show(path, *chosen(frames=4096), shown, ("before",)))
    assert kept is shown and said == ("before",) and "at most 512" in message


def test_a_part_of_the_video_at_a_rate(show, path):
    shown, _, message, _, _, strip, *_ = after_all(
        show(path, *chosen(start="2", end="6.0", fps=" 4 "), None, ())
    )
    assert message == "" and "16 frames of 2.0 to 6.0 s of 8.0 s" in strip
    assert shown.clip.timestamps[0] >= 2 and shown.clip.timestamps[-1] < 6


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"start": "-1"}, "app: start: expected a finite number &gt;= 0, got -1"),
        ({"start": "nan"}, "app: start: expected a finite number &gt;= 0, got nan"),
        ({"end": "0:30"}, "app: end: expected a number, got &#x27;0:30&#x27;"),
        ({"start": "5", "end": "3"}, "end: expected more than start, 5 s, got 3"),
        ({"start": "9"}, "shapes.mp4: start: expected less than 8 s, where the video ends, got 9"),
        ({"end": "90"}, "shapes.mp4: end: expected at most 8 s, where the video ends, got 90"),
        ({"fps": "0"}, "fps: expected more than 0, got 0"),
        ({"fps": "0.01"}, "shapes.mp4: fps: expected at least 0.0625, for one frame of 8 s, got"),
    ],
)
def test_a_part_that_cannot_be_leaves_the_page_as_it_was(show, path, part, told):
    shown = after_all(show(path, *chosen(), None, ()))[0]
    kept, said, message, *_ = after_all(show(path, *chosen(**part), shown, ("before",)))
    assert kept is shown and said == ("before",) and told in message
    assert after_all(show(path, *chosen(), kept, said))[2] == ""  # as before: nothing to say


def test_a_field_that_is_left_as_it_was_reads_nothing(show, path):
    shown = after_all(show(path, *chosen(), None, ()))[0]
    (step,) = show(path, *chosen(), shown, ("before",))
    assert step[:3] == (shown, ("before",), "")


def test_what_nobody_foresaw_is_a_message_too(show, page, path, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a surprise\n  at line 3")

    monkeypatch.setattr(type(page.projector), "show", fail)
    message = after_all(show(path, *chosen(), None, ()))[2]
    assert "a surprise" in message and "line 3" not in message
    assert "a surprise" in caplog.text  # with the traceback, for whoever runs it


def test_questions_are_stacked_the_newest_first(show, answer, path):
    shown = after_all(show(path, *chosen(), None, ()))[0]
    said = ()
    for question in ("which shape came first?", "was there a bar?"):
        said, message, drawn, *_ = after_all(answer(question, shown, said, True))
        assert message == ""
    assert len(said) == 2 and drawn.index("was there a bar?") < drawn.index("came first?")
    assert "video already in the cache" in said[0] and "in the cache" not in said[1]


def test_a_bad_question_is_a_message(show, answer, path):
    shown = after_all(show(path, *chosen(), None, ()))[0]
    assert "expected some text" in after_all(answer("  ", shown, (), False))[1]
    assert "drop a video" in after_all(answer("why?", None, (), False))[1]


def test_an_answer_that_fails_says_why_in_its_place(show, answer, page, path, monkeypatch):
    shown = after_all(show(path, *chosen(), None, ()))[0]

    def fail(*_, **__):
        raise MemoryError("no memory left")

    monkeypatch.setattr(type(page.desk), "_ask_stock", fail)
    said, message, drawn, *_ = after_all(answer("was there a bar?", shown, (), True))
    assert len(said) == 1 and message == "" and "no memory left" in drawn
