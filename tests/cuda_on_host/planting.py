"""Builds the sources with a bug planted, and runs the cases that must show it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cuda_on_host import build
from cuda_on_host.planted_bugs import Bug


def link(bugs: Sequence[Bug], base: build.Build, directory: Path, name: str) -> Iterator[Path]:
    """A library for each bug, compiled side by side, in the order of the bugs."""

    def one(index: int) -> Path:
        bug = bugs[index]
        planted = build.Build(
            directory / str(index), base, bug.changed(), bug.unit(), sanitize=base.sanitize
        )
        return planted.link(f"{name}_{index}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(one, range(len(bugs)))


def shows(bug: Bug, path: Path) -> bool:
    """Does a case of the bug fail with this library?"""
    library = build.Library(path, path.stem)
    try:
        for case in bug.cases:
            case.check(library)
    except (AssertionError, RuntimeError):
        return True
    return False


def run_sanitized(libraries: Mapping[str, Path]) -> dict[str, tuple[int, str]]:
    """Exit code and stderr of each, by the name of its bug; of another name all cases are run."""
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
    if result.returncode != 0:
        raise RuntimeError(f"sanitized.py: exit code {result.returncode}\n{result.stderr}")
    return {name: (code, said) for name, (code, said) in json.loads(result.stdout).items()}


def is_address_error(code: int, said: str) -> bool:
    return code != 0 and ("ERROR: AddressSanitizer" in said or "misaligned address" in said)
