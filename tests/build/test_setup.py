"""setup.py from outside: what it decides, and what a wheel holds. Needs the source tree."""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = json.loads((ROOT / "csrc/build_facts.json").read_text())["version"]


def setup(
    *arguments: str, root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_cuda_asked_for_without_nvcc_fails_loudly(tmp_path):
    result = setup(
        "build_ext",
        "-b",
        str(tmp_path),
        "-t",
        str(tmp_path),
        INTP_EXT_CUDA="1",
        CUDA_HOME="/nowhere",
    )
    assert result.returncode != 0
    assert "INTP_EXT_CUDA=1, but there is no nvcc in /nowhere" in result.stderr


@pytest.mark.parametrize(
    "environment, message",
    [
        ({"INTP_EXT_CUDA": "yes"}, "INTP_EXT_CUDA: expected auto, 0 or 1, got 'yes'"),
        ({"TORCH_CUDA_ARCH_LIST": "Ampere"}, "TORCH_CUDA_ARCH_LIST: expected like 8.0 or 9.0a+PTX"),
    ],
)
def test_environment_that_makes_no_sense(tmp_path, environment, message):
    result = setup("build_ext", "-b", str(tmp_path), "-t", str(tmp_path), **environment)
    assert result.returncode != 0
    assert message in result.stderr


# Compiles nothing, but looks whether every file and every folder that it is given is there.
COMPILER = """#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in
    -dumpmachine) echo MACHINE-linux-gnu; exit ;;
    -o) out=$2; shift ;;
    -x | -MF) shift ;;
    -isystem) [ -d "$2" ] || exit 1; shift ;;
    -I*) [ -d "${1#-I}" ] || exit 1 ;;
    -*) ;;
    *) [ -e "$1" ] || exit 1 ;;
  esac
  shift
done
: > "$out"
"""


def test_a_path_with_a_space(tmp_path):
    pytest.importorskip("pybind11")
    root = tmp_path / "a path"
    shutil.copytree(ROOT / "csrc", root / "csrc")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER.replace("MACHINE", platform.machine()))
    compiler.chmod(0o755)
    result = setup("build_ext", root=root, INTP_EXT_CUDA="0", CXX=str(compiler))
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(root.glob("build/lib*/intp_ext/_C.so"))


def test_a_wheel_for_every_python_of_another_machine(tmp_path):
    for needed in ("wheel", "pybind11", "ninja"):
        pytest.importorskip(needed)
    compiler = tmp_path / "compiler"
    compiler.write_text(COMPILER.replace("MACHINE", "aarch64"))
    suffix = f".cpython-3%d-{platform.machine()}-linux-gnu.so"
    paths = [tmp_path / f"python3.{minor}" for minor in (98, 99)]
    for minor, path in zip((98, 99), paths, strict=True):
        facts = json.dumps([f"3.{minor}.0", str(tmp_path), suffix % minor])
        path.write_text(f"#!/bin/sh\necho '{facts}'\n")
    for path in (compiler, *paths):
        path.chmod(0o755)
    result = setup(
        "egg_info", "-e", str(tmp_path), "build", "-b", str(tmp_path / "build"),
        "-t", str(tmp_path / "objects"), "bdist_wheel", "--skip-build",
        "-b", str(tmp_path / "bdist"), "-d", str(tmp_path),
        CXX=str(compiler), INTP_EXT_CUDA="0", INTP_EXT_WHEEL="manylinux_2_28_aarch64",
        INTP_EXT_PYTHONS=":".join(map(str, paths)), LDFLAGS="-Lsomewhere",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = tmp_path.glob("*.whl")
    assert path.name == f"intp_ext-{VERSION}-py3-none-manylinux_2_28_aarch64.whl"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        facts = next(name for name in names if name.endswith("/WHEEL"))
        assert "Root-Is-Purelib: false" in archive.read(facts).decode()
        recorded = archive.read(facts.replace("WHEEL", "RECORD")).decode().splitlines()
    assert [line.split(",")[0] for line in recorded] == names
    assert {Path(name).name for name in names if name.endswith(".so")} == {
        "_C.so",
        "_info.cpython-398-aarch64-linux-gnu.so",
        "_info.cpython-399-aarch64-linux-gnu.so",
    }
    config = (tmp_path / "objects/build_config.cpp").read_text()
    assert '"wheel": "manylinux_2_28_aarch64", "python": "3.98.0, 3.99.0"' in config
    assert '"cpu_levels": ["portable", "neon", "neon_bf16"]' in config
    assert "-Lsomewhere" in (tmp_path / "objects/build.ninja").read_text()


def test_a_python_that_does_not_run(tmp_path):
    result = setup("build_ext", "-b", str(tmp_path), "-t", str(tmp_path), INTP_EXT_PYTHONS="/no/py")
    assert result.returncode != 0
    assert "INTP_EXT_PYTHONS: /no/py is no Python that runs" in result.stderr


def test_an_sdist_holds_what_its_build_and_its_tests_read(tmp_path):
    result = setup("egg_info", "-e", str(tmp_path), "sdist", "-d", str(tmp_path))
    assert result.returncode == 0, result.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    folders = (".ci", "benchmarks", "cmake", "csrc", "docs", "intp_ext", "python", "tests")
    needed = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so")
    }
    needed |= {"CMakeLists.txt", "CONTRIBUTING.md", "MANIFEST.in", "pyproject.toml", "setup.py"}
    assert {name for name in needed - held if ".egg-info/" not in name} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    for needed in ("wheel", "pybind11", "ninja"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    made = tmp_path_factory.mktemp("wheel")
    result = setup(
        "build", "-b", str(made / "build"), "-t", str(made / "objects"),
        "bdist_wheel", "-b", str(made / "bdist"), "-d", str(made), "--skip-build",
        INTP_EXT_CUDA="0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "no CUDA library (INTP_EXT_CUDA=0)" in result.stderr
    return zipfile.ZipFile(next(made.glob("*.whl")))


def test_wheel_holds_the_packages_and_the_libraries(wheel):
    names = set(wheel.namelist())
    assert {"intp_ext/_C.so", "intp_ext/py.typed", "intp_video/py.typed"} <= names
    assert {"intp_ext/_info.pyi", "intp_video/small_model/model.safetensors"} <= names
    assert {"intp_video/app/page.css", "intp_video/app/page.js"} <= names
    assert [name for name in names if name.startswith("intp_ext/_info.")]
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "intp_ext").rglob("*.py")}
    sources |= {
        path.relative_to(ROOT / "python").as_posix() for path in (ROOT / "python").rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources
    assert not [name for name in names if name.startswith(("csrc", "tests"))]


def test_wheel_metadata(wheel):
    name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
    metadata = wheel.read(name).decode()
    assert "Name: intp-ext" in metadata and "License-Expression: Apache-2.0" in metadata
    assert "Requires-Dist: torch>=2.11" in metadata
    entry_points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "intp-ext = intp_ext.__main__:main" in entry_points


def test_libraries_name_no_directory_of_the_machine_that_built_them(wheel):
    for name in wheel.namelist():
        if name.endswith(".so"):
            assert str(ROOT).encode() not in wheel.read(name), name
