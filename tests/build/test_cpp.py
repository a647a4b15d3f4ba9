"""Runs the C++ unit tests (tests/cpp) where CMake is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cpp_unit_tests(tmp_path):
    def run(*command: str) -> None:
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr

    run("cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DINTP_SANITIZE=ON")
    run("cmake", "--build", str(tmp_path), "--target", "unit_tests", "--parallel", "2")
    run("ctest", "--test-dir", str(tmp_path), "--output-on-failure")
