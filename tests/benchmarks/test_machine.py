import json

import machine
import pytest
import torch

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [4096, 4099])
@pytest.mark.parametrize("method", ["copy_", "memmove"])
def test_copies_copy_everything(method, size):
    source, target = torch.randint(0, 256, (size,), dtype=torch.uint8), torch.zeros(size + 1).byte()
    machine.copy_methods(CPU, threads=3)[method](target[:size], source)
    assert torch.equal(target[:size], source) and target[size] == 0


def test_facts_are_json_and_name_what_ran():
    facts = json.loads(json.dumps(machine.describe(CPU)))
    assert facts["torch"] == torch.__version__
    assert facts["cpu"]["model"] and facts["cpu"]["cores"] >= 1
    assert facts["cpu"].keys() >= {"family"}
    assert facts["intp_ext"]["cpu_level"]


def test_the_command_names_no_folder_of_this_machine(tmp_path):
    script = machine.ROOT / "benchmarks" / "bench_ask.py"
    told = machine.command([str(script), "--json", str(tmp_path / "ask.json"), "--rounds", "1"])
    assert told.endswith(" benchmarks/bench_ask.py --json ask.json --rounds 1")


def test_commit_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("INTP_EXT_COMMIT", raising=False)
    assert machine.commit() is None
    monkeypatch.setenv("INTP_EXT_COMMIT", "abc")
    assert machine.commit() == "abc"


def test_peaks_are_rates_and_name_the_fastest_copy():
    found, copy = machine.peaks(CPU, threads=1, mib=4)
    rates = found["copy_gb_per_s"]
    assert rates[found["fastest_copy"]] == max(rates.values()) > 0
    assert found["read_gb_per_s"] > 0
    target = torch.zeros(3)
    copy(target, torch.arange(3.0))
    assert target.tolist() == [0, 1, 2]
