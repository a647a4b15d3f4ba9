"""What the documentation says was measured is what the results say."""

import json
import re
from pathlib import Path

import accuracy_tables
import intp_video
import tables
import torch
from intp_video.lab.evaluation import weights_digest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_documented_times_are_those_of_the_results():
    documented = (ROOT / "docs" / "operators.md").read_text()
    for table in tables.tables(RESULTS / "amd-epyc-2core"):
        assert table in documented


def test_documented_figures_of_the_cache_are_those_of_the_results():
    documented = (ROOT / "docs" / "kv_cache.md").read_text()
    for table in tables.kv_tables(RESULTS):
        assert table in documented


def test_documented_accuracy_is_that_of_the_results():
    documented = (ROOT / "docs" / "method.md").read_text()
    runs = accuracy_tables.load(RESULTS / "small-model")
    for make in accuracy_tables.TABLES.values():
        assert "\n".join(make(runs)) in documented
    documented = (ROOT / "docs" / "kv_cache.md").read_text()
    assert "\n".join(accuracy_tables.kv_bits(runs)) in documented


def test_readme_says_what_the_results_say():
    runs = accuracy_tables.load(RESULTS / "small-model")
    stock = [100 * runs["frames"][f"stock-{n}"]["accuracy"]["mean"] for n in (8, 32, 256)]
    ours = [100 * runs["frames"][f"intp-{n}-yarn"]["accuracy"]["mean"] for n in (32, 256)]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{stock[0]:.0f}% of the answers are right with 8 frames" in readme
    assert f"{ours[0]:.0f}% with 32, {ours[1]:.0f}% with 256" in readme
    assert f"with 32 and 256 frames and nothing else, {stock[1]:.0f}% and {stock[2]:.0f}%" in readme


def test_the_card_of_the_small_model_says_what_the_results_say():
    card = (ROOT / "python" / "intp_video" / "small_model" / "README.md").read_text()
    short = accuracy_tables.load(RESULTS / "small-model")["short"]["stock-8"]
    all_of_them = short["accuracy"]
    mean, low, high = (f"{100 * all_of_them[name]:.1f}" for name in ("mean", "low", "high"))
    assert f"| all | {mean}%, 95% interval {low} to {high} |" in card
    for kind, found in short["kinds"].items():
        assert re.search(rf"\| {kind}: .* \| {100 * found['mean']:.1f}% \|", card), kind


def test_results_are_those_of_the_weights_that_ship():
    model, _ = intp_video.load(intp_video.SMALL_MODEL)
    shipped = {
        str(dtype)[6:]: weights_digest(model.to(dtype)) for dtype in (torch.float32, torch.bfloat16)
    }
    for path in (RESULTS / "small-model").glob("*.json"):
        about = json.loads(path.read_text())["about"]
        assert about["weights"] == shipped[about["dtype"]], path.name
