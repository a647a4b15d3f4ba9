"""Answers come in the order of the questions; videos are shown once each, where memory allows."""

import intp_video
import pytest
from intp_video import VideoError
from intp_video.evals.asking import Asked, Asker, cut
from video.make_videos import write_video

QUESTIONS = ("was there a bar?", "how many shapes were there?")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    (folder / "broken.mp4").write_bytes(b"no video")
    write_video(folder / "a.mp4", 10)
    write_video(folder / "b.mp4", 12)
    return folder


@pytest.fixture(scope="module")
def asker():
    return Asker(str(intp_video.SMALL_MODEL), frames=8, device="cpu")


def asked(video, question=QUESTIONS[0], **limits):
    return Asked(str(video), question, **limits)


def test_questions_about_one_video_share_its_prefill(asker, videos, monkeypatch):
    shown = []
    read = intp_video.read_video

    def counted(path, *arguments, **options):
        shown.append(path)
        return read(path, *arguments, **options)

    a, b = videos / "a.mp4", videos / "b.mp4"
    mixed = [asked(b), asked(a), asked(b, QUESTIONS[1], max_new_tokens=3), asked(a, QUESTIONS[1])]
    expected = [asker.ask([question])[0] for question in mixed]
    asker.answerer.close()
    monkeypatch.setattr("intp_video.batch.answerer.read_video", counted)
    came = []
    assert asker.ask(mixed, came.append) == expected
    assert shown == [str(a), str(b)]
    assert came == [expected[1], expected[3], expected[0], expected[2]]


def test_an_answer_is_that_of_ask(asker, videos):
    model, preparer = intp_video.load(intp_video.SMALL_MODEL, device="cpu")
    alone = intp_video.ask(model, preparer, videos / "a.mp4", QUESTIONS[0], 8)
    assert asker.ask([asked(videos / "a.mp4")]) == [alone.text]


def test_the_task_limits_an_answer(asker, videos):
    whole = asker.ask([asked(videos / "a.mp4")])[0]
    assert asker.ask([asked(videos / "a.mp4", until=(whole[1:],))]) == [whole[:1]]


def test_a_bad_video_is_refused_or_wrong(asker, videos, caplog, monkeypatch):
    both = [asked(videos / "broken.mp4"), asked(videos / "a.mp4")]
    with pytest.raises(VideoError, match=r"broken.mp4.*cannot read video.*bad_videos=wrong"):
        asker.ask(both)
    monkeypatch.setattr(asker, "bad_videos", "wrong")
    assert asker.ask(both) == ["", *asker.ask(both[1:])]
    assert "counted as wrong" in caplog.text and "broken.mp4" in caplog.text


def test_a_second_that_is_no_number_costs_its_own_question(asker, videos, monkeypatch):
    mixed = [asked(videos / "a.mp4", start=start) for start in ("5", 0.5, None)]
    with pytest.raises(VideoError, match="start: expected a number, got str"):
        asker.ask(mixed)
    monkeypatch.setattr(asker, "bad_videos", "wrong")
    assert asker.ask(mixed) == ["", *asker.ask(mixed[1:])]


def test_the_greedy_answer_scores_best(asker, videos):
    """The small model says whole words, so text and tokens are one to one."""
    questions = [asked(videos / "b.mp4"), asked(videos / "a.mp4")]
    scores = asker.score([(q, text) for q in questions for text in ("yes", "no")])
    for said, (yes, no) in zip(asker.ask(questions), (scores[:2], scores[2:]), strict=True):
        assert said in ("yes", "no")
        assert (yes[0] > no[0]) == (said == "yes")
        assert (yes[1], no[1]) == (said == "yes", said == "no")
    with pytest.raises(VideoError, match="cannot read video"):
        asker.score([(asked(videos / "broken.mp4"), "yes")])


def test_what_is_wrong_with_the_arguments_is_said_before_a_question():
    with pytest.raises(ValueError, match="bad_videos: expected one of refuse, wrong, got 'skip'"):
        Asker(str(intp_video.SMALL_MODEL), bad_videos="skip")
    with pytest.raises(ValueError, match="rope: expected one of"):
        Asker(str(intp_video.SMALL_MODEL), rope="wrong")
    with pytest.raises(ValueError, match="device: expected one of torch's"):
        Asker(str(intp_video.SMALL_MODEL), device="bogus")


@pytest.mark.parametrize(
    ("until", "left"), [((), "a b c"), (("",), "a b c"), (("b", "c"), "a"), (("x", " c"), "a b")]
)
def test_cut(until, left):
    assert cut("a b c ", until) == left
