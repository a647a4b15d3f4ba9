"""Each planted bug is caught by the comparison that the tests use."""

import json
import os
import subprocess
import sys

import pytest
from cuda_on_host import build
from cuda_on_host.planted_bugs import WRONG_ADDRESS, WRONG_RESULT, Bug

CONTROL = "as it is"


@pytest.mark.parametrize("bug", WRONG_RESULT, ids=lambda bug: bug.name)
def test_wrong_result(base, library, tmp_path, bug):
    for case in bug.cases:
        case.check(library)
    planted = build.Build(tmp_path, base, bug.changed())
    name = f"intp_planted_{WRONG_RESULT.index(bug)}"
    wrong = planted.library(name)
    with pytest.raises((AssertionError, RuntimeError)):
        for case in bug.cases:
            case.check(wrong)


@pytest.fixture(scope="module")
def sanitized(base, library, tmp_path_factory):
    """What became of each of WRONG_ADDRESS, and of the sources as they are: (exit code, stderr)."""
    directory = tmp_path_factory.mktemp("sanitized")
    sane = build.Build(directory / "as_it_is", base, sanitize=True)
    libraries = {CONTROL: sane.link("intp_sanitized")}
    for index, bug in enumerate(WRONG_ADDRESS):
        planted = build.Build(directory / str(index), sane, bug.changed(), sanitize=True)
        libraries[bug.name] = planted.link(f"intp_sanitized_{index}")
    runtime = subprocess.check_output(["g++", "-print-file-name=libasan.so"], text=True).strip()
    result = subprocess.run(
        [sys.executable, str(build.HERE / "sanitized.py")],
        input=json.dumps({name: str(path) for name, path in libraries.items()}),
        env={
            **os.environ,
            "LD_PRELOAD": runtime,
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONPATH": os.pathsep.join([str(build.HERE.parent), *sys.path]),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_sanitized_as_it_is(sanitized):
    code, said = sanitized[CONTROL]
    assert code == 0, said


@pytest.mark.parametrize("bug", WRONG_ADDRESS, ids=lambda bug: bug.name)
def test_wrong_address(sanitized, bug):
    code, said = sanitized[bug.name]
    assert code != 0
    assert "ERROR: AddressSanitizer" in said or "misaligned address" in said, said


def test_a_bug_that_no_longer_fits_says_so():
    with pytest.raises(LookupError, match="found 0 times"):
        Bug("gone", "rope/cuda_rope.h", "no such text", "", ()).changed()
