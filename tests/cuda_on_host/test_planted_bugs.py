"""Each planted bug is caught by the comparison that the tests use."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cuda_on_host import build
from cuda_on_host.planted_bugs import WRONG_ADDRESS, WRONG_RESULT, Bug

CONTROL = "as it is"


def link(bugs: Sequence[Bug], base: build.Build, directory: Path, name: str) -> list[Path]:
    """A library for each bug, compiled side by side."""

    def one(index: int) -> Path:
        bug = bugs[index]
        planted = build.Build(
            directory / str(index), base, bug.changed(), bug.unit(), sanitize=base.sanitize
        )
        return planted.link(f"{name}_{index}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, range(len(bugs))))


@pytest.fixture(scope="module")
def planted(base, library, tmp_path_factory):
    paths = link(WRONG_RESULT, base, tmp_path_factory.mktemp("planted"), "intp_planted")
    return dict(zip(WRONG_RESULT, paths, strict=True))


@pytest.mark.parametrize("bug", WRONG_RESULT, ids=lambda bug: bug.name)
def test_wrong_result(library, planted, bug):
    for case in bug.cases:
        case.check(library)
    wrong = build.Library(planted[bug], planted[bug].stem)
    with pytest.raises((AssertionError, RuntimeError)):
        for case in bug.cases:
            case.check(wrong)


@pytest.fixture(scope="module")
def sanitized(base, library, tmp_path_factory):
    """What became of each of WRONG_ADDRESS, and of the sources as they are: (exit code, stderr)."""
    directory = tmp_path_factory.mktemp("sanitized")
    sane = build.Build(directory / "as_it_is", base, sanitize=True)
    libraries = {CONTROL: sane.link("intp_sanitized")}
    paths = link(WRONG_ADDRESS, sane, directory, "intp_sanitized")
    libraries.update(zip((bug.name for bug in WRONG_ADDRESS), paths, strict=True))
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
        Bug("gone", "rope/cuda/kernel.h", "no such text", "", ()).changed()
