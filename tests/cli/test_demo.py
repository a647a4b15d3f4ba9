"""``intp-video demo``: one command, and what it says is so."""

import json
from pathlib import Path

import intp_video
import pytest
from intp_video.lab.shapes import held_out_world
from intp_video.video import read_video

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    return intp_video.make_random_model(tmp_path_factory.mktemp("models") / "tiny")


def test_more_frames_give_more_right_answers(cli, tmp_path):
    outcome = cli("demo", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert [arm["frames"] for arm in told["arms"]] == [8, 32, 64]
    assert told["shapes"] == 4 == told["arms"][2]["shapes_on_these_frames"]
    few, _, many = (arm["right"] for arm in told["arms"])
    assert few < many <= len(told["questions"]) == 7
    for arm in told["arms"]:
        assert (tmp_path / arm["picture"]).read_bytes().startswith(b"\x89PNG")
        assert sum(q["right"][str(arm["frames"])] for q in told["questions"]) == arm["right"]
    assert len(read_video(tmp_path / told["video"], 8).frames) == 8
    readme = README.read_text().splitlines()
    for question in told["questions"]:
        line = next(line for line in readme if line.startswith(question["question"]))
        right = [question["answer"] if question["right"][n] else "[wrong]" for n in ("32", "64")]
        assert line.split()[-2:] == right


def test_the_table_marks_what_is_wrong(cli, random_model):
    """A random model knows nothing, and the demo does not claim it does."""
    outcome = cli("demo", "--model", random_model, "--seed", 3, "--quiet")
    assert outcome.code == 0 and outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["question", "truth", "8", "frames", "32", "frames", "64", "frames"]
    for question in held_out_world(3, 1 / 32)[1]:
        line = next(line for line in lines if line.startswith(question.text))
        assert f" {question.answer} " in line and "[" in line
    assert "nothing was trained for more" not in outcome.out


def test_bad_seed(cli):
    outcome = cli("demo", "--seed", 1000)
    assert outcome.code == 2 and "seed: expected 0 to 999" in outcome.err
