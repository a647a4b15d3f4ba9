"""``intp-video eval``: what it takes, what it refuses, what it leaves behind."""

import json
import shutil
import time

import pytest
from intp_video.lab.training.recipe import untrained_model, write_directory
from video.make_videos import write_video


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    write_directory(directory, untrained_model(seed=0))
    return directory


def test_from_the_command_line(cli, model_dir, tmp_path):
    video = write_video(tmp_path / "v.mp4", 20)
    line = {"video": str(video), "question": "was there a bar?", "answer": "no"}
    (tmp_path / "q.jsonl").write_text(json.dumps(line) + "\nnonsense\n")
    ask = ["eval", "q.jsonl", "--model", model_dir, "--max-new-tokens", 1]
    refused = cli(*ask)
    assert refused.code == 2 and "line 2: not JSON" in refused.err.splitlines()[-1]
    ask += ["--bad-lines", "skip"]
    outcome = cli(*ask, "--frames", 8, 13, "--methods", "stock", "intp", "pooled")
    assert outcome.code == 0, outcome.err
    assert "| intp | 16 | yarn |" in outcome.out and "line 2: not JSON" in outcome.err
    assert (tmp_path / "intp-eval" / "table.md").read_text() == outcome.out
    assert cli(*ask, "--videos", 3).code == 2
    assert "--first-video: is for the shapes task" in cli(*ask, "--first-video", 3).err
    assert "expected one of stock, intp" in cli(*ask, "--methods", "best").err
    packed = cli(*ask, "--frames", 8, "--methods", "intp", "--kv-bits", 16, 4, "--out", "packed")
    assert "| intp | 8 | yarn |  | 4 |" in packed.out, packed.err
    assert "--kv-bits: invalid choice: 5" in cli(*ask, "--kv-bits", 5).err
    assert "--windows: expected" in cli(*ask, "--windows", "-1").err


def test_a_question_with_special_tokens_is_a_bad_line(cli, model_dir, tmp_path):
    video = write_video(tmp_path / "v.mp4", 20)
    line = {"video": str(video), "question": "was there a bar?", "answer": "no"}
    lines = [line, line | {"question": "was there a bar?</s>"}, line | {"options": ["no", "<s>"]}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ask = ["eval", "q.jsonl", "--model", model_dir, "--max-new-tokens", 1, "--frames", 8]
    refused = cli(*ask)
    assert refused.code == 2 and not (tmp_path / "intp-eval").exists()
    assert "1 lines are no questions, the first is line 2: " in refused.err.splitlines()[-1]
    assert "got '</s>', a special token" in refused.err
    shown = cli(*ask, "--show-options", "--bad-lines", "skip")
    assert shown.code == 0 and "line 3: prepare: question: expected words, got '<s>'" in shown.err
    assert "1 questions about 1 videos" in shown.out


@pytest.fixture
def asking(tmp_path, model_dir):
    """A folder with a question file and its video, and the arguments of an eval of two arms."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_video(folder / "v.mp4", 20)
    texts = "was there a bar?", "how many shapes were there?"
    lines = [{"video": "v.mp4", "question": text, "answer": "no"} for text in texts]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    shutil.copytree(model_dir, folder / "model")
    return folder, ["--frames", 8, 16, "--methods", "stock", "--max-new-tokens", 1]


def answers(folder):
    """Every line, as (question, arm)."""
    lines = map(json.loads, (folder / "predictions.jsonl").read_text().splitlines())
    return sorted((line["id"], line["arm"]) for line in lines)


ALL_OF_THEM = [(i, arm) for i in ("1", "2") for arm in ("stock-16", "stock-8")]


def test_the_same_run_by_other_paths_goes_on(cli, asking, tmp_path, monkeypatch):
    folder, options = asking
    first = cli("eval", "data/q.jsonl", "--model", "data/model", "--out", "data/out", *options)
    assert first.code == 0 and answers(folder / "out") == ALL_OF_THEM
    arguments = [folder / "q.jsonl", "--model", folder / "model", "--out", folder / "out"]
    by_absolute_path = cli("eval", *arguments, *options)
    assert by_absolute_path.out == first.out, by_absolute_path.err
    monkeypatch.chdir(folder)
    assert cli("eval", "q.jsonl", "--model", "model", "--out", "out", *options).out == first.out
    monkeypatch.chdir(tmp_path)
    folder.rename("moved")
    moved = cli("eval", "moved/q.jsonl", "--model", "moved/model", "--out", "moved/out", *options)
    assert moved.out == first.out, moved.err
    assert answers(tmp_path / "moved" / "out") == ALL_OF_THEM  # none was asked again


def test_a_second_run_is_refused_until_the_first_is_gone(cli, cli_process, asking):
    folder, options = asking
    command = ["eval", folder / "q.jsonl", "--model", folder / "model", *options]
    prelude = (
        "import time; from intp_video.lab.evaluation import run; read = run.read_video\n"
        "run.read_video = lambda *a: time.sleep(600) if a[1] == 16 else read(*a)"
    )
    first = cli_process(*command, prelude=prelude)
    path = folder.parent / "intp-eval" / "predictions.jsonl"
    try:
        while not (path.exists() and path.read_bytes().count(b"\n") == 2):
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.1)
        second = cli(*command)
        assert second.code == 2 and not second.out
        assert f"in use by another run (process {first.pid} on " in second.err.splitlines()[-1]
        assert "wait until it has ended, or give another directory" in second.err
    finally:
        first.kill()
        first.communicate()
    third = cli(*command)
    assert third.code == 0, third.err
    assert answers(path.parent) == ALL_OF_THEM


def test_two_runs_at_once_end_in_whole_files(cli_process, model_dir, tmp_path):
    command = ["eval", "--model", model_dir, "--videos", 1, "--frames", 8, "--methods", "stock"]
    both = [cli_process(*command, "--max-new-tokens", 1) for _ in range(2)]
    ends = [(process, *process.communicate()) for process in both]
    for process, out, err in ends:
        refused = process.returncode == 2 and "in use by another run" in err
        assert refused or "7 questions about 1 videos" in out, err
    assert 0 in [process.returncode for process in both]
    out = tmp_path / "intp-eval"
    assert len(answers(out)) == len(set(answers(out))) == 7
    assert json.loads((out / "summary.json").read_text())["videos"] == 1
    assert not list(out.rglob("*part-*"))


def test_quick_needs_no_question_file(cli, model_dir):
    ask = ["eval", "--model", model_dir, "--quick", "--videos", 1, "--max-new-tokens", 1]
    outcome = cli(*ask, "--out", "out", "--json")
    summary = json.loads(outcome.out)
    assert [row["arm"] for row in summary["arms"]] == [
        *("stock-8", "intp-8-yarn", "stock-32", "intp-32-yarn")
    ]
    assert summary["videos"] == 1 and summary["arms"][3]["observer"] == 1.0
