"""The CPU kernels at every instruction set that this processor has, and the choice among them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import intp_ext

TESTS = Path(__file__).parent
BEST = intp_ext.build_info()["cpu_level"]
LEVELS = intp_ext.build_info()["cpu_levels"]  # each includes the ones before it
NAMES = " or ".join(", ".join(LEVELS).rsplit(", ", 1))
KERNEL_TESTS = (
    "as_good_as_eager or special or sixteen or elsewhere or large_outputs or axes or bitwise"
    " or maximum or turns"
)
PRINT_LEVEL = "import intp_ext; print(intp_ext.build_info()['cpu_level'], flush=True)"
RUN_TESTS = f"{PRINT_LEVEL}; import pytest, sys; sys.exit(pytest.main(sys.argv[1:]))"


def run(level: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "INTP_EXT_CPU": level},
        cwd=TESTS.parent.parent,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("level", LEVELS)
def test_kernels_at_level(level):
    if LEVELS.index(level) > LEVELS.index(BEST):
        pytest.skip(f"this processor has {BEST}, not {level}")
    if level == BEST:  # the tests beside this one ran it
        chosen = run(level, "-P", "-c", PRINT_LEVEL)
        assert chosen.stdout.strip() == level, chosen.stderr
        return
    files = [
        str(TESTS / name)
        for name in (
            "test_apply_rope.py",
            "test_rearrange.py",
            "test_attention_cpu.py",
            "test_scores.py",
            "test_kv_cache.py",
            "test_cached_attention.py",
            "test_kv_recent.py",
            "test_kv_sinks.py",
        )
    ]
    result = run(
        level, "-P", "-c", RUN_TESTS, "-q", "-p", "no:cacheprovider", *files, "-k", KERNEL_TESTS
    )
    assert result.stdout.splitlines()[0] == level, result.stdout + result.stderr
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("level", ["AVX2", "", "avx2" if "neon" in LEVELS else "neon"])
def test_unknown_level_stops_the_import(level):
    result = run(level, "-P", "-c", "import intp_ext")
    assert result.returncode == 1
    assert f"INTP_EXT_CPU: expected {NAMES}, got '{level}'" in result.stderr
