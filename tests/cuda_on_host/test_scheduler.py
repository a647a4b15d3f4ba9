import subprocess

import pytest
from cuda_on_host import build

HERE = build.HERE


@pytest.mark.skipif(build.reason_to_skip() is not None, reason=str(build.reason_to_skip()))
def test_scheduler(tmp_path):
    program = tmp_path / "test_scheduler"
    sources = [HERE / name for name in ("test_scheduler.cpp", "scheduler.cpp", "fiber.cpp")]
    command = [
        "g++", "-std=c++17", "-O1", "-g1", "-fsanitize=address,undefined", "-Wall", "-Wextra",
        "-Wno-attributes", f"-I{HERE}/include", f"-I{HERE.parent}/cpp", f"-I{build.CSRC}",
        f"-isystem{build.cuda_include()}", *map(str, sources), "-o", str(program),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    result = subprocess.run([program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
