"""bench_ask: every arm answers alike, and what does not fit is left out with its reason."""

import json

import bench_ask
import pytest

STAGES = set(bench_ask.STAGES)


def test_every_arm_gives_the_same_tokens(tmp_path, capsys):
    path = tmp_path / "ask.json"
    options = [
        "--size",
        "tiny",
        "--frames",
        "16",
        "--rounds",
        "1",
        "--tokens",
        "3",
        "--threads",
        "1",
    ]
    assert bench_ask.main([*options, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    (result,) = report["results"]
    assert list(result["arms"]) == list(bench_ask.ARMS) and result["left_out"] == {}
    for figures in result["arms"].values():
        assert figures["tokens_equal_first_arm"] or not figures["same_computation"]
        assert set(figures["median_s"]) == STAGES and min(figures["median_s"].values()) > 0
    assert "same tokens" in capsys.readouterr().out


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_ask, "eager_bytes", lambda model, tokens: 10**15)
    path = tmp_path / "ask.json"
    options = [
        "--size",
        "tiny",
        "--frames",
        "8",
        "--rounds",
        "1",
        "--tokens",
        "2",
        "--threads",
        "1",
    ]
    bench_ask.main([*options, "--json", str(path)])
    (result,) = json.loads(path.read_text())["results"]
    assert "stock eager" not in result["arms"]
    assert result["left_out"]["stock eager"].startswith("needs 1000000 GB")


@pytest.mark.parametrize("options", [["--tokens", "1"], ["--rounds", "0"], ["--threads", "0"]])
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit) as stop:
        bench_ask.main(options)
    assert stop.value.code == 2
