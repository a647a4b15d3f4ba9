"""``intp-video batch``: as it is run, interrupted and run again."""

import json
import shutil
import signal
import time

import pytest
import torch
from intp_video.cli.batch import spread
from intp_video.lab.random_model import make_random_model
from video.make_videos import write_video

QUESTION = "was there a bar?"
OPTIONS = ("--model", "small", "--frames", "8", "--max-new-tokens", "2")


@pytest.fixture
def rows(tmp_path):
    """``rows(n)`` writes in.jsonl with a video for each row; the path of the output."""

    def write(count, **more):
        for number in range(count):
            path = tmp_path / "videos" / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            if number == 0:
                write_video(path, 10)
            else:
                shutil.copy(path.with_name("0.mp4"), path)
        lines = [
            {"id": f"row {number}", "video": f"videos/{number}.mp4", "question": QUESTION} | more
            for number in range(count)
        ]
        (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / "out.jsonl"

    return write


def read(out):
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_file_of_questions(cli, rows, tmp_path):
    out = rows(3)
    (tmp_path / "videos" / "1.mp4").write_text("no video")
    outcome = cli("batch", "in.jsonl", "out.jsonl", *OPTIONS)
    assert outcome == (0, "out.jsonl: 2 of 3 rows answered, 1 with an error\n", "")
    found = read(out)
    assert sorted(row["id"] for row in found) == ["row 0", "row 1", "row 2"]
    errors = {row["id"]: row["error"] for row in found}
    assert "it is a text file" in errors["row 1"] and errors["row 0"] is None

    before = out.read_bytes()
    again = cli("batch", "in.jsonl", "out.jsonl", *OPTIONS, "--json")
    assert json.loads(again.out) == {"out": "out.jsonl", "rows": 3, "done": 3, "errors": 1}
    assert out.read_bytes() == before

    shutil.copy(tmp_path / "videos" / "0.mp4", tmp_path / "videos" / "1.mp4")
    mended = cli("batch", "in.jsonl", "out.jsonl", *OPTIONS, "--retry-errors")
    assert mended.out == "out.jsonl: 3 of 3 rows answered, 0 with an error\n"
    assert sorted(row["id"] for row in read(out)) == ["row 0", "row 1", "row 2"]


def test_answers_of_another_run_are_not_mixed_in(cli, rows, tmp_path):
    out = rows(1)
    assert cli("batch", "in.jsonl", "out.jsonl", *OPTIONS).code == 0
    before = out.read_bytes()
    refused = cli("batch", "in.jsonl", "out.jsonl", *OPTIONS, "--kv-bits", "8", "--window", 4)
    assert refused.code == 2 and "(other kv_bits, window); give another file" in refused.err
    make_random_model(tmp_path / "other")
    refused = cli("batch", "in.jsonl", "out.jsonl", *OPTIONS, "--model", "other")
    assert refused.code == 2 and "weights); give another file" in refused.err
    assert out.read_bytes() == before
    shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    moved = cli("batch", "moved/in.jsonl", "moved/out.jsonl", *OPTIONS, "--dtype", "auto")
    assert moved.code == 0


def test_an_interrupt_loses_nothing(cli_process, rows):
    out = rows(40)
    command = ("batch", "in.jsonl", "out.jsonl", *OPTIONS)
    for number, goal in ((signal.SIGINT, 1), (signal.SIGTERM, 15)):
        process = cli_process(*command)
        while not out.exists() or out.read_bytes().count(b"\n") < goal:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        said, err = process.communicate(timeout=60)
        done = len(read(out))
        assert (process.returncode, said) == (130, "") and goal <= done < 40
        assert err == (
            f"out.jsonl: {done} of 40 rows; the same command goes on\nintp-video: interrupted\n"
        )
    process = cli_process(*command)
    told = "out.jsonl: 40 of 40 rows answered, 0 with an error\n"
    assert process.communicate(timeout=120) == (told, "")
    assert sorted(row["id"] for row in read(out)) == sorted(f"row {n}" for n in range(40))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.jsonl", "out.jsonl"), "missing.jsonl"),
        (("in.jsonl", "no/such/out.jsonl"), "cannot write 'no/such/out.jsonl'"),
        (("in.jsonl", "videos"), "it is a directory"),
        (("in.jsonl", "in.jsonl"), "is the file of the questions"),
        (("in.jsonl", "out.jsonl", "--rope", "linear", "--span", "all", "--factor", 0.5), "factor"),
        (("in.jsonl", "out.jsonl", "--device", "cuda:99"), "--device"),
        (("in.jsonl", "out.jsonl", "--workers", 0), "--workers"),
        (("videos/0.mp4", "out.jsonl"), "0.mp4: expected UTF-8 text"),
    ],
)
def test_wrong_input_is_one_line_before_a_worker_is_started(
    cli, rows, monkeypatch, arguments, message
):
    def reached(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr("intp_video.batch.pool._Worker", reached)
    out = rows(1)
    outcome = cli("batch", *arguments, "--model", "small", "--frames", 8)
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.count("\n") == 1
    assert message in outcome.err and not out.exists()


def test_workers_take_turns_on_the_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert spread(torch.device("cuda"), 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert spread(torch.device("cuda:1"), 2) == ["cuda:1", "cuda:1"]
    assert spread(torch.device("cpu"), 2) == ["cpu", "cpu"]
