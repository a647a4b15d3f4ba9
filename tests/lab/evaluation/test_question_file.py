import json

import pytest
from intp_video.lab.evaluation import read_questions, shapes_questions
from intp_video.video import read_video

GOOD = {"video": "a.mp4", "question": "What?", "answer": "red", "options": ["red", "blue"]}


def write(tmp_path, *lines):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_a_good_file(tmp_path):
    lines = [GOOD, "", GOOD | {"id": "x", "kind": "color", "more": 1, "answer": "blue"}]
    questions, bad = read_questions(write(tmp_path, *lines, GOOD | {"answer": 3, "options": []}))
    assert not bad
    assert [q.id for q in questions] == ["1", "x", "4"]
    assert questions[0].video == str(tmp_path / "a.mp4")
    assert questions[1].kind == "color" and questions[2].answer == "3"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object, got list"),
        ({k: v for k, v in GOOD.items() if k != "video"}, "no 'video'"),
        (GOOD | {"question": ""}, "question: expected some text"),
        (GOOD | {"answer": None}, "answer: expected some text"),
        (GOOD | {"answer": "green"}, "'green' is none of the options"),
        (GOOD | {"options": "red"}, "options: expected a list"),
        (GOOD | {"observer": {"8": 2}}, "observer: expected numbers from 0 to 1"),
        (GOOD | {"id": "\ud800"}, "expected Unicode text, got '\\ud800'"),
        (GOOD | {"id": "1"}, "stands in line 1 already"),
    ],
)
def test_a_bad_line_is_told_by_its_number(tmp_path, line, reason):
    questions, bad = read_questions(write(tmp_path, GOOD, "", line))
    assert len(questions) == 1
    assert [b.number for b in bad] == [3] and reason in str(bad[0]) and "line 3: " in str(bad[0])


def test_a_line_that_a_check_refuses_is_bad(tmp_path):
    def check(question):
        if "</s>" in question.question:
            raise ValueError("question: special")

    path = write(tmp_path, GOOD, GOOD | {"question": "What?</s>"}, GOOD)
    questions, bad = read_questions(path, check)
    assert [q.id for q in questions] == ["1", "3"]
    assert [str(b) for b in bad] == ["line 2: question: special"]


def test_what_other_programs_write(tmp_path):
    """A byte order mark, Windows line ends, and separators of Unicode inside of strings."""
    odd = GOOD | {"question": "What\u2028is\x85this?"}
    path = tmp_path / "questions.jsonl"
    lines = [json.dumps(odd, ensure_ascii=False), json.dumps(GOOD)]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    questions, bad = read_questions(path)
    assert not bad and [q.question for q in questions] == [odd["question"], "What?"]


def test_files_without_questions(tmp_path):
    with pytest.raises(ValueError, match="no question in it"):
        read_questions(write(tmp_path, ""))
    with pytest.raises(ValueError, match="no question in it; line 1: not JSON"):
        read_questions(write(tmp_path, "{"))
    (tmp_path / "questions.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="expected UTF-8"):
        read_questions(tmp_path / "questions.jsonl")
    with pytest.raises(OSError):
        read_questions(tmp_path / "missing.jsonl")


def test_shapes_questions_are_a_file_too(tmp_path):
    told = []
    asked = shapes_questions(tmp_path, 2, 1 / 8, [8], progress=lambda *now: told.append(now))
    assert told == [(1, 2), (2, 2)]
    again, bad = read_questions(tmp_path / "questions.jsonl")
    assert again == asked and not bad
    assert {q.observer["8"] for q in asked} == {1.0}
    path = tmp_path / "shapes-8-001.mp4"
    assert len(read_video(path, 8).frames) == 8
    before = path.stat().st_mtime_ns
    shapes_questions(tmp_path, 2, 1 / 8, [8])
    assert path.stat().st_mtime_ns == before
    assert shapes_questions(tmp_path, 1, 1 / 8, [8], first=1) == [
        q for q in asked if q.id[0] == "1"
    ]
    with pytest.raises(ValueError, match="videos: expected 1 to 1000"):
        shapes_questions(tmp_path, 1001, 1 / 8, [8])
    with pytest.raises(ValueError, match="videos: expected 1 to 1,"):
        shapes_questions(tmp_path, 2, 1 / 8, [8], first=999)
    with pytest.raises(ValueError, match="first: expected 0 to 999, got 1000"):
        shapes_questions(tmp_path, 1, 1 / 8, [8], first=1000)
