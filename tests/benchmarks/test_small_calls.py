"""bench_small_calls: its parts are those of the calls, and add up."""

from __future__ import annotations

import json
from pathlib import Path

import bench_small_calls
import pytest
import torch

RESULTS = Path(__file__).parents[2] / "benchmarks/results/amd-epyc-zen5-2core/small_calls.json"


def test_the_measured_calls_reach_their_goals():
    found = json.loads(RESULTS.read_text())
    assert {row["name"] for row in found["operators"] if row["us"]["median"] > 30} == set()
    assert found["goal_us"] == 30 and found["import"]["ms"]["median"] <= found["import"]["goal_ms"]


def test_the_parts_add_up(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_small_calls, "CALLS", 2)
    options = ["--quick", "--threads", "2", "--json", str(tmp_path / "found.json")]
    bench_small_calls.main(options)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["threads"] == 2
    rows = {row["name"]: row for row in found["operators"]}
    assert set(rows) == {
        "attention",
        "apply_rope",
        "rearrange",
        "KVCache.append",
        "cached_attention",
    }
    for row in rows.values():
        assert sum(row["parts_us"].values()) == pytest.approx(row["us"]["median"])
    assert found["import"]["ms"]["min"] > 0 and "import intp_ext" in capsys.readouterr().out


@pytest.mark.parametrize("operator", bench_small_calls.operators(), ids=lambda x: x.name)
def test_what_is_inside_computes_what_the_call_does(operator):
    if operator.before is not None:
        operator.before()
    with torch.no_grad():
        expected, inside = operator.call(), operator.inside()
    if inside is not None:
        torch.testing.assert_close(inside, expected, rtol=0, atol=0)
