"""Facts of the build that stand where csrc/build_facts.json cannot be read are as it has them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import intp_ext
from intp_ext import _loader

ROOT = Path(__file__).parents[2]
FACTS = json.loads((ROOT / "csrc/build_facts.json").read_text())


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_version():
    assert intp_ext.__version__ == FACTS["version"]
    assert f"\nversion: {FACTS['version']}\n" in text("CITATION.cff")
    assert f"\n## [{FACTS['version']}]" in text("CHANGELOG.md")


def test_oldest_torch():
    oldest = FACTS["oldest_torch"]
    assert f'"torch>={oldest}"' in text("pyproject.toml")
    assert ".".join(map(str, _loader.OLDEST_TORCH)) == oldest
    major, minor = map(int, oldest.split("."))
    assert int(FACTS["torch_stable_abi"], 16) == major << 56 | minor << 48


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_targets_in_python_and_in_cpp(machine):
    condition = rf"defined\(__{machine}__\)\n(#define.*?)#el"
    listed = re.search(condition, text("csrc/cpu/target.h"), re.S)[1]
    names = re.findall(r"EACH\((\w+), \d", listed)
    targets = [each for each in FACTS["cpu_targets"] if each["machine"] in ("any", machine)]
    assert names == [target["name"] for target in targets]
