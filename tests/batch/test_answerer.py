"""VideoAnswerer: rows and columns in, the same and what was said out; one bad row costs itself."""

import gc
import pickle
import shutil
from dataclasses import replace

import intp_video
import numpy as np
import pytest
import torch
from intp_video.batch import VideoAnswerer
from intp_video.errors import ModelError
from intp_video.watching import WatchedVideo
from video.make_videos import write_video

QUESTIONS = ["was there a bar?", "how many shapes were there?"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name in "abc":
        write_video(folder / f"{name}.mp4", 20 + 10 * (ord(name) % 3))
    (folder / "broken.mp4").write_bytes(bytes(1000))
    return folder


@pytest.fixture
def answerer(videos):
    made = VideoAnswerer(intp_video.SMALL_MODEL, 16, device="cpu", folder=videos, max_new_tokens=4)
    yield made
    made.close()


@pytest.fixture
def watched(monkeypatch):
    """Grows with every video that is encoded and prefilled."""
    found, watch = [], WatchedVideo._watch

    def noting(video):
        found.append(video._clip.path.rpartition("/")[2])
        watch(video)

    monkeypatch.setattr(WatchedVideo, "_watch", noting)
    return found


def row(video="a.mp4", **more):
    return {"video": video, "question": QUESTIONS[0], **more}


def test_it_says_what_ask_says(answerer, videos):
    model, preparer = intp_video.load(intp_video.SMALL_MODEL)
    expected = [
        intp_video.ask(model, preparer, videos / "a.mp4", q, 16, max_new_tokens=4).text
        for q in QUESTIONS
    ]
    one = answerer({"id": "x", "video": "a.mp4", "question": QUESTIONS[1]})
    assert one == {
        "id": "x",
        "video": "a.mp4",
        "question": QUESTIONS[1],
        "prediction": expected[1],
        "error": None,
        "note": None,
    }
    several = answerer({"id": 7, "video": "a.mp4", "questions": QUESTIONS, "answer": ["no", "2"]})
    assert several["prediction"] == expected and several["answer"] == ["no", "2"]


def test_columns_of_arrays(answerer):
    batch = {
        "id": np.array([3, 1]),
        "video": np.array(["a.mp4", "broken.mp4"]),
        "question": np.array(QUESTIONS),
    }
    found = answerer(batch)
    assert all(found[name] is batch[name] for name in batch)
    assert found["prediction"][0] and found["error"][0] == found["note"][0] == ""
    assert found["prediction"][1] == "" and "broken.mp4" in found["error"][1]
    several = answerer({"video": ["a.mp4"], "questions": [np.array(QUESTIONS)]})
    assert len(several["prediction"][0]) == 2
    ragged = np.empty(2, dtype=object)  # as Ray Data hands out a column of lists
    ragged[:] = [np.array(QUESTIONS), np.array(QUESTIONS[:1])]
    several = answerer({"video": np.array(["a.mp4", "a.mp4"]), "questions": ragged})
    assert several["questions"] == [QUESTIONS, QUESTIONS[:1]]
    assert [len(said) for said in several["prediction"]] == [2, 1]
    failed = answerer({"video": ["broken.mp4"], "questions": [QUESTIONS]})
    assert failed["prediction"] == [["", ""]] and failed["error"][0]


def test_columns_of_different_lengths_are_refused(answerer):
    with pytest.raises(ValueError, match=r"columns of one length, got .*'id': 1"):
        answerer({"id": [1], "video": ["a.mp4", "b.mp4"], "question": QUESTIONS})


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"question": "Why?"}, "expected 'video', a path, got None"),
        ({"video": "", "question": "Why?"}, "expected 'video', a path, got ''"),
        ({"video": 3, "question": "Why?"}, "expected 'video', a path, got 3"),
        ({"video": "a.mp4"}, "got neither"),
        (row(questions=["Why?"]), "got both"),
        ({"video": "a.mp4", "questions": []}, "got an empty list"),
        ({"video": "a.mp4", "questions": "Why?"}, "got 'Why?'"),
        ({"video": "a.mp4", "questions": {"a": 1}}, "got {'a': 1}"),
        ({"video": "a.mp4", "questions": ["Why?", 3]}, "expected a string, got int"),
        (row() | {"question": "what is <video>?"}, "expected words, got '<video>'"),
        (row() | {"question": " "}, "expected some text, got ' '"),
        (row("missing.mp4"), "missing.mp4': No such file"),
        (row("broken.mp4"), "cannot read video"),
        (row("a\0.mp4"), "cannot open video"),
        (row("."), "it is a directory"),
    ],
)
def test_a_bad_row_costs_itself(answerer, bad, error):
    found = answerer({"id": 1, **bad})
    assert error in found["error"] and "\n" not in found["error"]
    assert found["prediction"] is None and found["id"] == 1
    assert answerer(row())["error"] is None


def test_an_error_that_nobody_expects_costs_its_row_alone(answerer, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")

    before = answerer(row())
    with monkeypatch.context() as patch:
        patch.setattr("intp_video.watching.prefill", fail)
        assert answerer(row("b.mp4"))["error"] == "CUDA out of memory."
    assert answerer(row()) == before


def test_what_is_wrong_with_the_model_is_raised(answerer, videos, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="there is no such folder"):
        VideoAnswerer(tmp_path / "nothing")(row())
    with pytest.raises(ValueError, match=r"dtype: expected one of float32, .*, got 'int8'"):
        VideoAnswerer(intp_video.SMALL_MODEL, dtype="int8")
    for wrong in ({"backend": "ffmpeg"}, {"sampling": None}, {"max_new_tokens": 0}):
        with pytest.raises(ValueError, match=rf"VideoAnswerer: {next(iter(wrong))}"):
            VideoAnswerer(intp_video.SMALL_MODEL, **wrong)
    with pytest.raises(ValueError, match="rope: expected one of"):
        VideoAnswerer(intp_video.SMALL_MODEL, rope="wrong")(row())

    def lost(*_, **__):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("intp_video.watching.prefill", lost)
    with pytest.raises(torch.AcceleratorError):
        answerer(row())


def test_it_is_pickled_without_its_model(answerer):
    expected = answerer(row())
    sent = pickle.dumps(answerer)
    assert len(sent) < 2000
    assert pickle.loads(sent)(row()) == expected


def test_questions_about_one_video_share_its_prefill(answerer, watched):
    batch = {"video": ["a.mp4", "a.mp4", "b.mp4"], "question": [*QUESTIONS, QUESTIONS[0]]}
    answerer(batch)
    assert watched == ["a.mp4", "b.mp4"]
    answerer({"video": "b.mp4", "questions": QUESTIONS})
    assert watched == ["a.mp4", "b.mp4"]
    answerer(row("a.mp4"))
    assert watched == ["a.mp4", "b.mp4", "a.mp4"]


def test_a_file_that_was_changed_is_read_again(answerer, videos, watched, tmp_path):
    shutil.copy(videos / "a.mp4", tmp_path / "x.mp4")
    answerer.folder = tmp_path
    answerer(row("x.mp4"))
    shutil.copy(videos / "b.mp4", tmp_path / "x.mp4")
    answerer(row("x.mp4"))
    (tmp_path / "x.mp4").unlink()
    assert "No such file" in answerer(row("x.mp4"))["error"]
    assert watched == ["x.mp4", "x.mp4"]


def test_what_was_lost_of_a_video_is_noted(answerer, monkeypatch):
    read = intp_video.read_video

    def lossy(*arguments, **options):
        return replace(read(*arguments, **options), notes=("one thing", "another"))

    monkeypatch.setattr("intp_video.batch.answerer.read_video", lossy)
    assert answerer(row())["note"] == answerer(row())["note"] == "one thing; another"


def test_a_stretch_that_cannot_be_shared_is_said_once(videos, caplog):
    answerer = VideoAnswerer(
        intp_video.SMALL_MODEL,
        16,
        device="cpu",
        folder=videos,
        max_new_tokens=2,
        rope="dynamic_ntk",
    )
    for video in ("a.mp4", "b.mp4"):
        assert answerer({"video": video, "questions": QUESTIONS})["error"] is None
    assert caplog.text.count("an encode and a prefill of its own") == 1


def test_memory_is_that_of_one_video(answerer):
    def held():
        gc.collect()
        found = (x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter))
        storages = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in found}
        return sum(storages.values())

    def show(*names):
        for name in names:
            assert answerer({"video": name, "questions": QUESTIONS})["error"] is None

    show("a.mp4")
    before = held()
    show("b.mp4", "c.mp4", "b.mp4", "c.mp4", "a.mp4")
    assert held() == before
    answerer(row("broken.mp4"))
    assert held() < before


def test_rows_about_parts_of_a_video(answerer, videos, watched):
    """Each part of a.mp4, which has 3 seconds, is a video of its own."""
    model, preparer = intp_video.load(intp_video.SMALL_MODEL)
    reading = {"start": 0.5, "end": 1.5, "fps": 8}
    expected = intp_video.ask(
        model, preparer, videos / "a.mp4", QUESTIONS[0], max_new_tokens=4, **reading
    )
    said = [answerer(row(**more)) for more in ({}, reading, reading, {"start": 1})]
    assert [one["error"] for one in said] == [None] * 4
    assert watched == ["a.mp4"] * 3
    assert said[1]["prediction"] == expected.text and said[1]["end"] == 1.5
    columns = answerer(
        {"video": ["a.mp4"] * 2, "question": [QUESTIONS[0]] * 2, "start": [0.5, np.nan]}
    )
    assert columns["error"] == ["", ""]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"end": 99}, "end: expected at most 3 s, where the video ends, got 99"),
        ({"start": 1, "end": 1}, "batch: end: expected more than start, 1 s, got 1"),
        ({"fps": "2"}, "batch: fps: expected a number, got str"),
    ],
)
def test_a_part_that_is_none_costs_its_row(answerer, more, message):
    assert message in answerer(row(**more))["error"]


def test_a_rate_for_all_rows(videos):
    made = VideoAnswerer(
        intp_video.SMALL_MODEL, 16, device="cpu", folder=videos, max_new_tokens=2, fps=4
    )
    made(row())
    assert len(made._shown.video._clip) == 12
    made(row(fps=100))
    assert len(made._shown.video._clip) == 16
    assert "100 frames a second would be 300: 16 were taken" in made._shown.note
    made.close()
    with pytest.raises(ValueError, match="VideoAnswerer: fps: expected more than 0"):
        VideoAnswerer(intp_video.SMALL_MODEL, fps=0)
