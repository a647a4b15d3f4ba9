"""The figures of the cache: from the results that are published."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize(
    "name", ["amd-epyc-zen4-2core/kv_cache", "small-model/kv_accuracy", "real-model/perplexity"]
)
def test_every_arm_and_contender_is_drawn(name, tmp_path):
    plot = pytest.importorskip("plot", exc_type=ImportError)
    path = tmp_path / "report.json"
    report = json.loads((RESULTS / f"{name}.json").read_text())
    path.write_text(json.dumps(report))
    assert plot.main([str(path), "--format", "svg"]) == 0
    picture = path.with_suffix(".svg").read_text()
    results = report.get("results", [])
    drawn = [row["name"] for r in results for row in r["contenders"]]
    assert set(drawn) <= set(pytest.importorskip("plot_kv").CONTENDERS)
    arms = report.get("arms") or report.get("summary")
    assert picture.count("<use") > len(drawn or arms)  # a marker each, and ticks
