"""The proof of a pass is measured by passes that are proven."""

import json

import bench_proof


def test_it_measures_a_pass_that_is_accepted(capsys, monkeypatch):
    monkeypatch.setattr(bench_proof, "PASSES", 3)
    monkeypatch.setattr("sys.argv", ["bench_proof.py", "--layers", "4", "--json"])
    bench_proof.main()
    found = json.loads(capsys.readouterr().out)
    assert found["layers"] == 4 and found["us"] > 0
