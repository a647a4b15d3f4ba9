"""cmake/wheels/: what its check finds, and a library that is linked for an older platform."""

import ctypes
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEEL = json.loads((ROOT / "csrc/build_facts.json").read_text())["wheel"]

# exp2 of glibc 2.29; of libstdc++: 3.4.26 (the stream), 3.4.29 (too many numbers), CXXABI 1.3.13
# (the copied exception); of glibc 2.32: what counts the references of a shared pointer
SOURCE = """
#include <cmath>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
extern "C" double run(double x, long n) {
  auto numbers = std::make_shared<std::unique_ptr<double[]>>();
  try {
    numbers->reset(new double[n]);
    auto same = numbers;
    std::ostringstream text;
    text << std::exp2(x);
    if (x > 8) throw std::out_of_range(text.str());
    return std::stod(text.str());
  } catch (const std::out_of_range& error) {
    std::exception_ptr first = std::current_exception(), second = first;
    try { std::rethrow_exception(second); } catch (const std::exception& again) {
      return -std::stod(again.what());
    }
  } catch (const std::bad_alloc&) { return 0; }
}
"""


@pytest.fixture
def scripts(monkeypatch):
    """The modules of cmake/wheels/, by name."""
    monkeypatch.syspath_prepend(str(ROOT / "cmake/wheels"))
    names = ("symbols", "pythons", "old_libraries", "make_wheels")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


@pytest.fixture
def library(tmp_path):
    """Compiles a library."""
    for needed in ("g++", "readelf"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")

    def make(name: str, source: str = SOURCE, flags: str = "") -> Path:
        made = tmp_path / name
        command = ["g++", "-O2", "-shared", "-fPIC", *flags.split(), "-o", str(made)]
        subprocess.run([*command, "-x", "c++", "-"], input=source, text=True, check=True)
        return made

    return make


def test_the_check_names_what_is_too_new(scripts, library, monkeypatch):
    symbols = scripts["symbols"]
    made = library("new.so")
    monkeypatch.setitem(symbols.NEWEST, "GLIBCXX", "3.4.20")  # std::string is of 3.4.21
    found = "\n".join(symbols.problems(made))
    assert "new.so needs GLIBCXX_3.4.21, for _ZN" in found
    assert "GLIBC_2.14" not in found and "GLIBCXX_3.4," not in found


def test_the_check_names_other_libraries_and_symbols_of_none(scripts, library):
    needed = library("libneeded.so", "void f() {}", "-Wl,-soname,libneeded.so")
    source = 'extern "C" void nobody(); void g() { nobody(); }'
    made = library("odd.so", source, f"-Wl,--no-as-needed {needed}")
    found = set(scripts["symbols"].problems(made))
    assert "odd.so needs libneeded.so, which need not be there" in found
    assert "odd.so needs nobody, which no library has" in found


@pytest.mark.parametrize(
    "version, number",
    [
        ("GLIBC_2.2.5", (2, 2, 5)),
        ("GLIBC_2.28", (2, 28)),
        ("GLIBC_2.29", None),
        ("GLIBC_PRIVATE", None),
        ("GLIBC_ABI_DT_RELR", None),
        ("GLIBCXX_3.4.24", (3, 4, 24)),
        ("GLIBCXX_3.4.25", None),
        ("CXXABI_TM_1", None),
        ("libother.so.1", None),
    ],
)
def test_versions_that_the_platform_has(scripts, version, number):
    assert scripts["symbols"].version_number(version) == number


def test_a_library_linked_for_the_platform(scripts, library, tmp_path):
    flags = scripts["old_libraries"].make(tmp_path / "old", "g++")
    made = library("old.so", flags=flags)
    assert list(scripts["symbols"].problems(made)) == []
    run = ctypes.CDLL(str(made)).run
    run.argtypes, run.restype = (ctypes.c_double, ctypes.c_long), ctypes.c_double
    assert (run(3, 1), run(10, 1), run(3, -1)) == (8, -1024, 0)  # returned, thrown, too many


def test_functions_that_moved_are_asked_of_their_former_library(scripts):
    home = scripts["old_libraries"].former_home
    assert home("pthread_create") == "libpthread.so.0" and home("dlsym") == "libdl.so.2"
    assert home("shm_open") == "librt.so.1" and home("memcpy") == "libc.so.6"


def test_a_python_without_headers_is_not_taken_and_not_silent(scripts, tmp_path):
    pythons = scripts["pythons"]
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho 3.12\n")
    path.chmod(0o755)
    missing = [version for version in WHEEL["pythons"] if version != "3.12"]
    assert pythons.find([str(path)]) == ({"3.12": str(path)}, missing)
    path.write_text("#!/bin/sh\n")
    with pytest.raises(SystemExit, match=r"expected one of 3\.10, .* got .*python \(none, or no h"):
        pythons.find([str(path)])


def test_an_interpreter_without_its_info_is_found(scripts, tmp_path):
    failure = scripts["pythons"].failure_to_load
    (tmp_path / "_info.py").write_text("def build_info(): pass\n")
    assert failure(sys.executable, tmp_path) == ""
    (tmp_path / "_info.py").unlink()
    assert failure(sys.executable, tmp_path).startswith("ModuleNotFoundError")


def test_the_pythons_of_a_wheel_begin_with_the_oldest_supported():
    assert f'requires-python = ">={WHEEL["pythons"][0]}"' in (ROOT / "pyproject.toml").read_text()
