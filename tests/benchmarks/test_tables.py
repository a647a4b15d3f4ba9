"""The figures of the pages are those of the results, and the results those of the weights."""

import json
from pathlib import Path

import intp_video
import pytest
import tables
import tables_speed
import torch
from intp_video.lab.evaluation import weights_digest

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
BLOCKS = {"time": lambda: "7 ms", "rows": lambda: "| a |\n| --- |"}
PAGE = """A step took <!-- results: time -->7 ms<!-- end --> here.

<!-- results: rows -->
| a |
| --- |
<!-- end -->
"""


def test_every_figure_of_the_pages_is_that_of_the_results(capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr()


def test_shapes_stand_side_by_side_once_they_are_measured(tmp_path):
    def measured(name, frames):
        median = {"encode": 1.0, "prefill": 2.0, "token": 0.25}
        limit = {"encode": 0.5, "prefill": 1.8, "token": 0.125}
        arms = {"intp_ext": {"median_s": median, "limit_s": limit}}
        result = {"frames": frames, "prompt_tokens": 4000, "arms": arms}
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": [result]}))

    measured("ask", 32)
    measured("ask_internvl", 16)
    rows = tables_speed.shapes(str(tmp_path)).splitlines()[2:]
    figures = "| intp_ext | 1.00 (50%) | 2.00 (90%) | 250 (50%) |"
    assert rows == [
        f"| Video-LLaVA, 32 frames, 4,000 tokens {figures}",
        f"| InternVL3-1B, 16 frames, 4,000 tokens {figures}",
    ]


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_page_that_is_right_stays_as_it_is(page):
    assert tables.refresh([page], BLOCKS, {}, write=True) == []
    assert page.read_text() == PAGE


def test_a_stale_block_is_named_and_written(page):
    old = PAGE.replace("7 ms", "8 ms").replace("| a |", "| b |")
    page.write_text(old)
    assert tables.refresh([page], BLOCKS, {}, write=False) == ["page.md: time", "page.md: rows"]
    assert page.read_text() == old
    tables.refresh([page], BLOCKS, {}, write=True)
    assert page.read_text() == PAGE


def test_a_stale_picture_is_named_and_written(page):
    picture = page.with_name("picture.svg")
    picture.write_text("<svg/>")
    stale = tables.refresh([page], BLOCKS, {picture: "<svg>new</svg>"}, write=True)
    assert stale == ["picture.svg"] and picture.read_text() == "<svg>new</svg>"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (PAGE.replace("results: time", "results: tim"), "expected one of rows, time, got tim"),
        (PAGE.replace("<!-- end -->", "", 1), "in pairs"),
        (PAGE.replace("<!-- end -->\n", ""), "in pairs"),
        (PAGE.replace("results: time", "results:time"), "in pairs"),
        (PAGE.replace("A step took ", ""), "time: expected marks on lines of their own"),
        (PAGE.replace("rows -->\n", "rows -->"), "rows: expected marks on lines of their own"),
        (PAGE[: PAGE.index("\n\n")], "found none with rows"),
    ],
)
def test_marks_that_cannot_be_filled(page, text, error):
    page.write_text(text)
    with pytest.raises(tables.MarkError, match=error):
        tables.refresh([page], BLOCKS, {}, write=True)
    assert page.read_text() == text


def test_results_are_those_of_the_weights_that_ship():
    model, _ = intp_video.load(intp_video.SMALL_MODEL)
    shipped = {
        str(dtype)[6:]: weights_digest(model.to(dtype)) for dtype in (torch.float32, torch.bfloat16)
    }
    for path in (RESULTS / "small-model").glob("*.json"):
        about = json.loads(path.read_text())["about"]
        assert about["weights"] == shipped[about["dtype"]], path.name
