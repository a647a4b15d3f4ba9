"""The table of the CUDA compile check, from what ptxas writes."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "csrc/cuda/kernel_table.py"
KERNEL = """\
ptxas info    : Compiling entry function '{symbol}' for '{arch}'
ptxas info    : Function properties for {symbol}
    {stack} bytes stack frame, {spilled} bytes spill stores, 0 bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers{shared}, 680 bytes cmem[0]
ptxas info    : Compile time = 40.1 ms
"""
ROPE = "_ZN4intp4cuda11rope_kernelINS0_10RopeTraitsI13__nv_bfloat16Li8EEEEEvNS0_8RopeTileE"
LOCAL = "_ZN4intp12_GLOBAL__N_16kernelIjEEvNS_6ParamsE"


@pytest.fixture(scope="module")
def script():
    if shutil.which("c++filt") is None:
        pytest.skip("no c++filt")
    spec = importlib.util.spec_from_file_location("kernel_table", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def log(path: Path, spilled: int = 0, stack: int = 0) -> str:
    first = dict(symbol=ROPE, arch="sm_80", stack=0, spilled=0, registers=62, shared="")
    second = dict(
        symbol=LOCAL, arch="sm_90a", stack=stack, spilled=spilled, registers=255,
        shared=", 1024 bytes smem",
    )  # fmt: skip
    path.write_text(
        "ptxas info    : 0 bytes gmem\n" + KERNEL.format(**first) + KERNEL.format(**second)
    )
    return str(path)


def test_table(script, tmp_path, capsys):
    assert script.main([log(tmp_path / "a.log")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kernel                                      for     registers  shared  stack  spilled",
        "kernel<unsigned int>                        sm_90a        255    1024      0        0",
        "rope_kernel<RopeTraits<__nv_bfloat16, 8> >  sm_80          62       0      0        0",
        "2 kernels, none of them with registers in memory",
    ]


def test_a_spill_fails(script, tmp_path, capsys):
    assert script.main([log(tmp_path / "a.log", spilled=4)]) == 1
    assert "2 kernels, 1 of them with" in capsys.readouterr().out


def test_an_array_in_memory_fails(script, tmp_path):
    assert script.main([log(tmp_path / "a.log", stack=8)]) == 1


def test_too_many_kernels_fail(script, tmp_path, capsys):
    entry = dict(arch="sm_80", stack=0, spilled=0, registers=9, shared="")
    text = "".join(KERNEL.format(symbol=f"_Z1{chr(97 + i % 26)}{i}v", **entry) for i in range(53))
    (tmp_path / "a.log").write_text(text)
    assert script.main([str(tmp_path / "a.log")]) == 1
    assert "expected at most 52 kernels, got 53" in capsys.readouterr().err


def test_nothing_compiled_fails(script, tmp_path, capsys):
    (tmp_path / "a.log").write_text("ptxas info    : 0 bytes gmem\n")
    assert script.main([str(tmp_path / "a.log")]) == 1
    assert "no kernel" in capsys.readouterr().err
