"""Work in a thread: its news, its errors, its end."""

import threading

import pytest
from intp_video.app.background import Background, Stopped


def test_the_last_news_always_comes():
    def work(tell):
        for number in range(1000):
            tell(number)

    news = list(Background(work))
    assert news == sorted(set(news)) and news[-1] == 999


def test_errors_come_after_the_news():
    def work(tell):
        tell("one")
        raise ValueError("no more")

    followed = iter(Background(work))
    assert next(followed) == "one"
    with pytest.raises(ValueError, match="no more"):
        next(followed)


def test_work_that_nobody_follows_ends_at_its_next_news():
    go_on, ended = threading.Event(), threading.Event()

    def work(tell):
        tell("one")
        go_on.wait(60)
        try:
            tell("two")
        except Stopped:
            ended.set()
            raise

    followed = iter(Background(work))
    assert next(followed) == "one"
    followed.close()
    go_on.set()
    assert ended.wait(60)


def test_work_that_is_stopped_says_nothing():
    background = Background(lambda tell: tell("one"))
    background.stop()
    assert list(background) == []
