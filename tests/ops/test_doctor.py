import json

import pytest

import intp_ext
from intp_ext import doctor


def test_reports_and_passes(capsys):
    assert doctor.main([]) == 0
    report = capsys.readouterr().out
    for operator in ("token_order", "rearrange", "apply_rope", "attention"):
        assert f"ok     {operator}" in report
    assert intp_ext.build_info()["cpu_level"] in report


@pytest.mark.parametrize(
    "wheel, said", [(None, "built from source"), ("manylinux_9", "a wheel for manylinux_9")]
)
def test_says_where_it_was_built(monkeypatch, capsys, wheel, said):
    info = doctor.build_info() | {"wheel": wheel}
    monkeypatch.setattr(doctor, "build_info", lambda: info)
    assert doctor.main([]) == 0
    assert f"{intp_ext.__version__}, {said}, commit" in capsys.readouterr().out


def test_json(capsys):
    assert doctor.main(["--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    assert diagnosis["passed"] is True
    assert diagnosis["build"]["version"] == intp_ext.__version__
    assert {test["operator"] for test in diagnosis["self_test"]} == set(doctor.CHECKS)


@pytest.mark.parametrize(
    "broken", [lambda device: 1.0, lambda device: 1 // 0, lambda device: float("nan")]
)
def test_a_wrong_operator_fails(monkeypatch, capsys, broken):
    monkeypatch.setitem(doctor.CHECKS, "rearrange", broken)
    assert doctor.main([]) == 1
    assert "FAILED rearrange" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        doctor.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"intp-ext {intp_ext.__version__}\n"


def test_what_is_built_on_it_adds_a_line(capsys):
    """By an entry point: the operators know nothing of transformers."""
    assert doctor.main(["--json"]) == 0
    line = json.loads(capsys.readouterr().out)["built_on"]["transformers"]
    doctor.main([])
    assert f"transformers {line}" in capsys.readouterr().out
