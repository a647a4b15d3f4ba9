"""The example of docs/method.md is what this transformers does, and no more than plan counts."""

from __future__ import annotations

import json

import mrope_positions
import pytest
import transformers
from hf.tiny_families import FAMILIES
from intp_video.models import FAMILIES as SUPPORTED

RECORDED = json.loads(mrope_positions.RESULTS.read_text())


def test_recorded_positions_are_those_of_this_transformers():
    if transformers.__version__ not in RECORDED:
        pytest.skip("not a release of the example")
    assert mrope_positions.positions_by_stock() == RECORDED[transformers.__version__]


@pytest.mark.parametrize("name", mrope_positions.MODEL_TYPES)
def test_plan_counts_about_as_many(name):
    """It sets text aside beside the video; what stands between frames is an estimate."""
    tiny = next(family for family in FAMILIES if family.name == name)
    config = tiny.make_model().config
    side = mrope_positions.SIDE * config.vision_config.patch_size
    for release in RECORDED.values():
        for frames, stock in release[name].items():
            layout = SUPPORTED[name].layout(config, int(frames), side, side)
            assert stock["positions"] - 2 <= layout.positions <= 1.5 * stock["positions"]
            assert layout.tokens == pytest.approx(stock["tokens"], rel=0.01)
