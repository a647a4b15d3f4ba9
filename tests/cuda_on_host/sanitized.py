"""Runs sanitized builds, each in a process of its own, since the first finding ends it.

stdin: {name: path of a library}; stdout: {name: [exit code, stderr]}. Started by
planting.py with the sanitizer's runtime loaded first.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import torch
from cuda_on_host import comparisons
from cuda_on_host.build import Library
from cuda_on_host.planted_bugs import WRONG_ADDRESS, WRONG_RESULT


class Exact:
    """A tensor whose memory ends where it ends: what lies beyond is the sanitizer's."""

    def __init__(self, shape, dtype: torch.dtype, fill: float = float("nan")) -> None:
        self.tensor = torch.full(shape, fill).to(dtype)

    def assert_intact(self) -> None:
        pass


def check(name: str, path: Path) -> None:
    bugs = [bug for bug in WRONG_ADDRESS if bug.name == name]
    library = Library(path, path.stem)
    cases = [case for bug in bugs or [*WRONG_RESULT, *WRONG_ADDRESS] for case in bug.cases]
    for case in {id(case): case for case in cases}.values():  # several bugs share one
        case.check(library)


def run(name: str, path: Path) -> tuple[int, str]:
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 2)
            code = 0
            try:
                check(name, path)
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stderr.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return code, said.read()


if __name__ == "__main__":
    torch.set_num_threads(1)
    comparisons.Guarded = Exact
    libraries = json.load(sys.stdin)
    json.dump({name: run(name, Path(path)) for name, path in libraries.items()}, sys.stdout)
