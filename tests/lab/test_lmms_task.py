"""A question file as a local task of lmms-eval; ``tests/evals/run_lmms_eval.py`` runs one."""

import json

import pytest
from intp_video.lab.evaluation import VideoQuestion
from intp_video.lab.lmms_task import lines
from intp_video.lab.lmms_task.__main__ import main
from intp_video.lab.lmms_task.task import write_task

QUESTIONS = [
    VideoQuestion("1", "a.mp4", "What color?", "red", ("red", "blue"), "color"),
    VideoQuestion("2", "a.mp4", "Who is there?", "a cat"),
]


def read(path):
    told = dict(line.split(": ", 1) for line in path.read_text().splitlines())
    data = json.loads(told["dataset_kwargs"])["data_files"]["test"]
    with open(data, encoding="utf-8") as file:
        return told, [json.loads(line) for line in file]


def test_what_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told, found = read(write_task("tasks", "mine", QUESTIONS, max_new_tokens=5))
    assert [line["video"] for line in found] == [str(tmp_path / "a.mp4")] * 2
    assert [line["question"] for line in found] == ["What color?", "Who is there?"]
    assert json.loads(told["generation_kwargs"])["max_new_tokens"] == 5
    metrics = [metric["metric"] for metric in json.loads(told["metric_list"])]
    assert metrics == ["accuracy", "accuracy_color"]
    for name in ("doc_to_visual", "doc_to_text", "process_results"):
        assert told[name] == f"!function intp_video.lab.lmms_task.lines.{name}"
        assert callable(getattr(lines, name))


def test_a_line_is_asked_and_scored_as_eval_does(tmp_path):
    _, found = read(write_task(tmp_path, "mine", QUESTIONS, show_options=True))
    color, cat = found
    assert lines.doc_to_visual(color) == [color["video"]]
    assert lines.doc_to_text(color).startswith("What color?\nA. red\nB. blue\n")
    assert lines.process_results(color, ["B"]) == {"accuracy": 0, "accuracy_color": 0}
    assert lines.process_results(color, ["It is red."]) == {"accuracy": 1, "accuracy_color": 1}
    assert lines.process_results(cat, ["The cat."]) == {"accuracy": 1}


def test_the_command(tmp_path, capsys):
    (tmp_path / "q.jsonl").write_text(
        '{"video": "a.mp4", "question": "Who?", "answer": "Ann"}\nnothing\n'
    )
    given = [str(tmp_path / "tasks"), "--questions", str(tmp_path / "q.jsonl")]
    assert main(given) == 1
    assert "1 lines are no questions, the first is line 2: not JSON" in capsys.readouterr().err
    (tmp_path / "q.jsonl").write_text('{"video": "a.mp4", "question": "Who?", "answer": "Ann"}')
    assert main([*given, "--name", "a task"]) == 1
    assert "expected letters, digits and _, got 'a task'" in capsys.readouterr().err
    assert main(given) == 0
    _, found = read(tmp_path / "tasks" / "shapes.yaml")
    assert found[0]["video"] == str(tmp_path / "a.mp4")


def test_no_question_is_no_task(tmp_path):
    with pytest.raises(ValueError, match="expected at least one, got none"):
        write_task(tmp_path, "mine", [])


def test_the_shapes_task(tmp_path):
    assert main([str(tmp_path), "--videos", "1", "--event-length", "8"]) == 0
    _, found = read(tmp_path / "shapes.yaml")
    assert {line["kind"] for line in found} <= {"needle", "order", "count", "existence"}
    assert found[0]["video"] == str(tmp_path / "videos" / "shapes-8-000.mp4")
    assert (tmp_path / "videos" / "shapes-8-000.mp4").exists()
