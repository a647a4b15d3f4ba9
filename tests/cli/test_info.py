"""``intp-video info``."""

import json

import pytest
from intp_video.video import BACKENDS


@pytest.fixture
def report(cli):
    outcome = cli("info", "--json")
    assert outcome.code == 0 and outcome.err == ""
    return json.loads(outcome.out)


def test_versions(report):
    import torch
    import transformers

    assert report["packages"]["torch"] == torch.__version__
    assert report["packages"]["transformers"] == transformers.__version__


def test_the_transformers_versions_that_are_tested(cli, monkeypatch):
    from intp_video import compat

    assert compat.tested_with() in cli("info").out
    monkeypatch.setattr(compat, "transformers_version", lambda: "99.0.0")
    assert "99.0.0, newer than the newest that is tested" in cli("info").out


def test_version(cli):
    outcome = cli("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("intp-video 0.")


def test_backends_in_the_order_they_are_tried(report):
    assert list(report["video_backends"]) == list(BACKENDS)
    assert report["video_backends"]["pyav"]["problem"] is None


def test_models_and_operators(report):
    assert "video_llava" in report["models"]
    assert report["operators"]["passed"] is True


def test_a_missing_backend_names_its_package(cli, monkeypatch):
    import importlib

    real = importlib.import_module

    def import_module(name, *rest):
        if name == "decord":
            raise ModuleNotFoundError("No module named 'decord'", name="decord")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert "not installed (pip install decord)" in cli("info").out


def test_operators_that_do_not_load_are_said(cli, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "intp_ext.doctor", None)
    outcome = cli("info")
    assert outcome.code == 1
    assert "the operator library does not load" in outcome.out


def test_for_people(cli):
    out = cli("info").out
    for word in ("python", "torch", "pyav", "video_llava", "self-test"):
        assert word in out
