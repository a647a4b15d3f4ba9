"""Makes the wheels of a release: one a machine, for every Python, installed without a compiler.

    python cmake/wheels/make_wheels.py                      # dist/*.whl, for each machine
    python cmake/wheels/make_wheels.py --machine aarch64    # cross-compiled on x86_64
    python cmake/wheels/make_wheels.py --without-cuda

setup.py compiles, by its own rules, and links against the libraries of an older platform, which
old_libraries.py makes from those that are here. Then each library of the wheel is held to what that
platform has. Needs torch's headers, pybind11, ninja, binutils, a compiler for the machine, and nvcc
for CUDA. Objects stay in build/wheels/, so that a second run compiles what changed.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import old_libraries
import pythons
from symbols import FACTS, problems

ROOT = Path(__file__).parents[2]
MACHINES = ("x86_64", "aarch64")
PLATFORM = FACTS["wheel"]["platform"]


def say(message: str) -> None:
    print(f"make_wheels: {message}", flush=True)


def compiler(machine: str) -> str:
    return "g++" if machine == platform.machine() else f"{machine}-linux-gnu-g++"


def build(machine: str, interpreters: list[str], cuda: bool, output: Path) -> Path:
    work = ROOT / "build/wheels" / machine
    environment = {
        "CXX": compiler(machine),
        "LDFLAGS": old_libraries.make(work / "libraries", compiler(machine)),
        "INTP_EXT_CUDA": "1" if cuda else "0",
        "INTP_EXT_PYTHONS": os.pathsep.join(interpreters),
        "INTP_EXT_WHEEL": f"{PLATFORM}_{machine}",
        "TORCH_CUDA_ARCH_LIST": FACTS["wheel"]["cuda_architectures"],
    }
    with tempfile.TemporaryDirectory() as made:
        # what setuptools warns about is meant for those who call setup.py to install
        command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "-e", made]
        command += ["build", "-b", f"{work}/build", "-t", f"{work}/objects"]
        command += ["bdist_wheel", "--skip-build", "-b", f"{work}/bdist", "-d", made]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True)
        (wheel,) = Path(made).glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, output))


def check(wheel: Path, interpreters: Iterable[str]) -> Iterator[str]:
    """Why its libraries could not be loaded on its platform, and the _info by its interpreter."""
    with tempfile.TemporaryDirectory() as directory, zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                yield from problems(Path(archive.extract(name, directory)))
        for path in interpreters:
            if failure := pythons.failure_to_load(path, Path(directory, "intp_ext")):
                yield f"{path} cannot load _info: {failure}"


def make(machine: str, interpreters: list[str], cuda: bool, output: Path) -> bool:
    """Whether the wheel is fit for its platform."""
    wheel = build(machine, interpreters, cuda, output)
    found = list(check(wheel, interpreters if machine == platform.machine() else ()))
    for problem in found:
        say(f"{machine}: {problem}")
    verdict = "NOT FIT" if found else f"all its symbols are those of {PLATFORM}"
    say(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, {verdict}")
    return not found


def main(argv: Sequence[str] | None = None) -> int:
    """0: every wheel was made; 1: one is not fit for its platform, or no compiler was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machine", choices=MACHINES, help="default: each that has a compiler")
    parser.add_argument("--without-cuda", action="store_true")
    parser.add_argument(
        "--python", action="append", metavar="PATH", help="an interpreter; default: all found"
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="default: dist/")
    options = parser.parse_args(argv)

    found, missing = pythons.find(options.python)
    for version, path in found.items():
        say(f"Python {version}: {path}")
    for version in missing:
        say(f"Python {version}: MISSING, no headers were found; the wheel will not run on it")

    passed = []
    for machine in [options.machine] if options.machine else MACHINES:
        if shutil.which(compiler(machine)) is None:
            say(f"{machine}: SKIPPED, {compiler(machine)} is not installed")
            continue
        cuda = machine == "x86_64" and not options.without_cuda
        passed.append(make(machine, list(found.values()), cuda, options.output))
    return 0 if passed and all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
