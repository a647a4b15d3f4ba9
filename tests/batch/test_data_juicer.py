"""The mapper of examples/, called with columns as Data-Juicer calls an operator."""

import runpy
from pathlib import Path

import pytest
from intp_video import SMALL_MODEL
from video.make_videos import write_video

EXAMPLE = Path(__file__).parents[2] / "examples" / "data_juicer_mapper.py"


def test_the_mapper_adds_what_was_said(tmp_path):
    ops = pytest.importorskip("data_juicer.ops.base_op")
    runpy.run_path(str(EXAMPLE))
    mapper = ops.OPERATORS.modules["video_answer_mapper"](str(SMALL_MODEL), frames=8)
    assert mapper.is_batched_op()
    video = str(write_video(tmp_path / "a.mp4", 10))
    samples = {
        "id": ["good", "bad", "again"],
        "video": [video, str(tmp_path / "missing.mp4"), video],
        "question": ["was there a bar?"] * 3,
    }
    found = mapper.process(samples)
    assert found["id"] == samples["id"]
    assert [error == "" for error in found["error"]] == [True, False, True]
    assert found["prediction"][0] == found["prediction"][2] != ""
