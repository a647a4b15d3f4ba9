"""``intp-video eval``: what it takes, what it refuses, what it leaves behind."""

import json

import pytest
import torch
from intp_video.towers import TemporalVideoLlava
from intp_video.training.recipe import config, write_directory
from transformers import VideoLlavaConfig
from video.make_videos import write_video


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("model")
    write_directory(directory, TemporalVideoLlava(VideoLlavaConfig.from_dict(config())))
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
    assert "--kv-bits: invalid choice: 3" in cli(*ask, "--kv-bits", 3).err
    assert "--windows: expected" in cli(*ask, "--windows", "-1").err


def test_quick_needs_no_question_file(cli, model_dir):
    ask = ["eval", "--model", model_dir, "--quick", "--videos", 1, "--max-new-tokens", 1]
    outcome = cli(*ask, "--out", "out", "--json")
    summary = json.loads(outcome.out)
    assert [row["arm"] for row in summary["arms"]] == [
        *("stock-8", "intp-8-yarn", "stock-32", "intp-32-yarn")
    ]
    assert summary["videos"] == 1 and summary["arms"][3]["observer"] == 1.0
