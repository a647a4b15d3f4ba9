"""A folder of results: who may write into it, and what a crash leaves there."""

import contextlib
import errno
import fcntl
import os
import threading

import pytest
from intp_video.errors import ModelError
from intp_video.lab.evaluation import VideoQuestion, exclusive, shapes_questions
from intp_video.lab.evaluation.predictions import Prediction, appended_predictions, read_predictions
from intp_video.lab.evaluation.resuming import check_settings, check_videos
from intp_video.records.digests import file_digest
from intp_video.records.files import write_whole


def in_a_thread(work):
    """The error it raised, if any."""
    errors = []

    def run():
        try:
            work()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[0] if errors else None


def test_one_run_at_a_time(tmp_path):
    def enter(folder=tmp_path):
        with exclusive(folder):
            pass

    with exclusive(tmp_path):
        enter()  # what a run calls may hold it again
        enter(tmp_path / "other")
        error = in_a_thread(enter)
        assert isinstance(error, ModelError)
        assert f"{tmp_path} is in use by another run (process {os.getpid()} on" in str(error)
        (tmp_path / "link").symlink_to(tmp_path)
        assert isinstance(in_a_thread(lambda: enter(tmp_path / "link")), ModelError)
    assert in_a_thread(enter) is None
    with contextlib.suppress(RuntimeError), exclusive(tmp_path):
        raise RuntimeError
    assert in_a_thread(enter) is None


def test_videos_are_not_rendered_by_two_at_once(tmp_path):
    with exclusive(tmp_path / "videos"):
        error = in_a_thread(lambda: shapes_questions(tmp_path / "videos", 1, 1 / 8, [8]))
    assert isinstance(error, ModelError) and not list(tmp_path.glob("videos/*.mp4"))


def test_a_disk_that_knows_no_locks_is_told(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=r"cannot be locked: No locks available; give a directory on"):
        exclusive(tmp_path).__enter__()


def test_a_file_is_written_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    write_whole(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "after" * 10_000 + "\ud800")
    assert path.read_text() == "before"
    write_whole(path, "after")
    assert path.read_text() == "after" and os.listdir(tmp_path) == ["summary.json"]


def keep(folder, *predictions):
    with appended_predictions(folder) as append:
        for prediction in predictions:
            append(prediction)


A, B = Prediction("1", "stock-8", "red"), Prediction("2", "stock-8", "two\nlines \u2028 ü")


@pytest.mark.parametrize(
    "damage",
    [
        b'{"id": "3", "arm": "stock-8", "sai',
        b"\0\0\0\0",
        b"\xff\xfe",
        b"[1]\n",
        b"null\n",
        b'{"id": "3"}\n',
        b'{"id": 3, "arm": "stock-8", "said": "x"}\n',
        b'{"id": "3", "arm": "stock-8", "said": ["x"]}\n',
        b'{"id": "3", "arm": "stock-8", "said": "x", "later": 1}\n',
        b"\n\n",
    ],
)
def test_a_damaged_line_costs_itself_alone(tmp_path, damage):
    keep(tmp_path, A)
    with open(tmp_path / "predictions.jsonl", "ab") as file:
        file.write(damage)
    before = (tmp_path / "predictions.jsonl").read_bytes()
    expected = {("1", "stock-8"): A}
    assert read_predictions(tmp_path) == expected
    keep(tmp_path, B)
    assert read_predictions(tmp_path) == expected | {("2", "stock-8"): B}
    assert (tmp_path / "predictions.jsonl").read_bytes().startswith(before)  # nothing is rewritten


def test_a_line_is_with_the_system_when_it_was_kept(tmp_path):
    with appended_predictions(tmp_path) as append:
        for prediction in (A, B, Prediction("3", "stock-8", "long " * 100_000)):
            append(prediction)
            assert prediction in read_predictions(tmp_path).values()


def test_the_newest_of_two_lines_counts(tmp_path):
    failed = Prediction("1", "stock-8", None, "no such file")
    keep(tmp_path, failed, A)
    assert list(read_predictions(tmp_path).values()) == [A]


@pytest.mark.parametrize("size", [0, 1, 70_000, 64 << 16, (64 << 16) + 1, 10_000_000])
def test_a_file_is_known_by_its_contents(tmp_path, size):
    content = os.urandom(size)
    names = tmp_path / "a.mp4", tmp_path / "b.mp4"
    for name in names:
        name.write_bytes(content)
    digest = file_digest(names[0])
    assert file_digest(names[1]) == digest and len(digest) == 16
    names[1].write_bytes(content + b"x")
    assert file_digest(names[1]) != digest
    for at in {0, size // 2, size - 1} if 0 < size <= 64 << 16 else ():
        changed = bytearray(content)
        changed[at] ^= 1
        names[1].write_bytes(changed)
        assert file_digest(names[1]) != digest, at
    assert file_digest(tmp_path / "missing.mp4") is None
    assert file_digest(tmp_path) is None


def test_settings_that_cannot_be_compared_are_not_overwritten(tmp_path):
    check_settings(tmp_path, {"dtype": "float32"}, answered=False)
    check_settings(tmp_path, {"dtype": "float32"}, answered=True)
    with pytest.raises(ModelError, match=r"another run \(other dtype, model\); give another"):
        check_settings(tmp_path, {"dtype": "float16", "model": "a"}, answered=True)
    path = tmp_path / "settings.json"
    for damage in ('{"dtype": "flo', "[]", ""):
        path.write_text(damage)
        with pytest.raises(ModelError, match=r"settings\.json is damaged; give another directory"):
            check_settings(tmp_path, {"dtype": "float32"}, answered=True)
        assert path.read_text() == damage
    path.unlink()
    with pytest.raises(ModelError, match=r"without the settings\.json"):
        check_settings(tmp_path, {"dtype": "float32"}, answered=True)
    assert os.listdir(tmp_path) == []


def test_answers_about_another_video_are_not_mixed_in(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"one")
    question = VideoQuestion("1", str(video), "What?", "red")
    said = {("1", "stock-8"): Prediction("1", "stock-8", "red", video=file_digest(video))}
    check_videos(tmp_path, [question], said, file_digest)
    video.write_bytes(b"two")
    with pytest.raises(ModelError, match=r"about another a\.mp4 than .*; give another directory"):
        check_videos(tmp_path, [question], said, file_digest)
    failed = {key: Prediction(p.id, p.arm, None, "x", p.video) for key, p in said.items()}
    check_videos(tmp_path, [question], failed, file_digest)
    video.unlink()
    check_videos(tmp_path, [question], said, file_digest)
