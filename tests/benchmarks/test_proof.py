"""The proof of a pass is measured by passes that are proven."""

import json
from pathlib import Path

import bench_proof

ROOT = Path(__file__).parents[2]


def test_the_measured_cost_reaches_its_goal():
    results = ROOT / "benchmarks" / "results" / "amd-epyc-zen5-2core" / "proof.json"
    found = json.loads(results.read_text())
    assert found["us"] <= found["goal_us"]


def test_it_measures_a_pass_that_is_accepted(capsys, monkeypatch):
    monkeypatch.setattr(bench_proof, "PASSES", 3)
    monkeypatch.setattr("sys.argv", ["bench_proof.py", "--layers", "4", "--json"])
    bench_proof.main()
    found = json.loads(capsys.readouterr().out)
    assert found["layers"] == 4 and found["us"] > 0
