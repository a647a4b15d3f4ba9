"""The counts of the kernels' main loops, on a listing as nvdisasm writes them."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

CUDA = Path(__file__).parents[2] / "csrc/cuda"
SYMBOL = "_ZN4intp4cuda11some_kernelI13__nv_bfloat16Li64EEEvNS0_15AttentionLaunchE"

# One turn of the loop from .L_x_0: 4 instructions to the branch; a copy or not; then 3 or, masked,
# 5; then, rarely, 2 more; then 3 to the end. Before and behind it, other code.
LISTING = """\
	.section	.text.{symbol},"ax",@progbits
.text.{symbol}:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 EXIT ;
.L_x_0:
	//## File "/src/prefill.h", line 7
        /*0020*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0030*/                   HMMA.16816.F32.BF16 R4, R8, R14, R4 ;
        /*0040*/                   BSSY B0, `(.L_x_1) ;
        /*0050*/               @P1 BRA P2, `(.L_x_1) ;
        /*0060*/                   LDGSTS.E.BYPASS.128 [R8+0x4000], [R164.64], !P0 ;
.L_x_1:
        /*0070*/                   BSYNC B0 ;
        /*0080*/                   FADD R1, R2, R3 ;
        /*0090*/               @P0 BRA `(.L_x_2) ;
        /*00a0*/                   FSEL R1, R1, -INF , P3 ;
        /*00b0*/                   FSEL R2, R2, -INF , P4 ;
.L_x_2:
	//## File "/src/fragments.h", line {condition}
        /*00c0*/              @!P5 BRA `(.L_x_3) ;
	//## File "/src/ptx.h", line 3 inlined at "/src/fragments.h", line {rare}
	//## File "/src/fragments.h", line {rare}
	//## File "/src/prefill.h", line 9
        /*00d0*/                   FMUL R1, R1, R2 ;
        /*00e0*/                   FMUL R2, R2, R2 ;
.L_x_3:
	//## File "/src/prefill.h", line 10
        /*00f0*/                   HMMA.16816.F32.BF16 R4, R8, R14, R4 ;
        /*0100*/                   BRA.DIV UR4, `(.L_x_5) ;
        /*0110*/                   ISETP.GE.AND P6, PT, R0, R9, PT ;
        /*0120*/              @!P6 BRA `(.L_x_0) ;
        /*0130*/                   EXIT ;
.L_x_5:
        /*0140*/                   WARPSYNC R1 ;
        /*0150*/                   BRA `(.L_x_3) ;
	.section	.text._Z5otherv,"ax",@progbits
.text._Z5otherv:
.L_x_9:
        /*0000*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0010*/               @P0 BRA `(.L_x_9) ;
        /*0020*/                   EXIT ;
"""


@pytest.fixture(scope="module")
def script():
    if shutil.which("c++filt") is None:
        pytest.skip("no c++filt")
    sys.path.insert(0, str(CUDA))  # it imports kernel_table
    try:
        spec = importlib.util.spec_from_file_location(
            "loop_instructions", CUDA / "loop_instructions.py"
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look it up
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(CUDA))
    return module


def test_ways_through_a_loop(script):
    lines = {function: line for (_, line), function in script.rare_lines().items()}
    assert {file for file, _ in script.rare_lines()} == {"fragments.h"}
    for function, rebase in (("weigh_large", 0), ("cap_scores", 0), ("bring_to_largest", 2)):
        listing = LISTING.format(symbol=SYMBOL, rare=lines[function], condition=1)
        (count,) = script.counts(listing)
        name = "some_kernel<__nv_bfloat16, 64>"
        assert count == script.Count(name, products=3, full=13, edge=15, rebase=rebase)


def test_lines_of_rare_functions_are_those_behind_their_conditions(script):
    lines = (CUDA.parent / "attention/cuda/fragments.h").read_text().splitlines()
    rare = "\n".join(lines[n - 1] for _, n in sorted(script.rare_lines()))
    assert "fast_exp2(s[m][j][e] * scale.capped)" in rare and "multiply_rounded" in rare
    assert "return" not in rare and "INTP_DEVICE" not in rare


def test_what_changed_is_said(script):
    def row(kernel, full, edge):
        return {"kernel": kernel, "products": 100, "full": full, "edge": edge, "rebase": 9}

    before = [row("a", 350, 500), row("b", 350, 500), row("c", 1, 1)]
    now = [row("a", 350, 500), row("b", 351, 499), row("d", 1, 1)]
    assert script.changes(before, before) == []
    assert script.changes(before, now) == [
        "b, edge: shrank, 500 to 499",
        "b, full: grew, 350 to 351",
        "c: is gone",
        "d: is new",
    ]


@pytest.fixture
def nvcc(tmp_path):
    path = tmp_path / "nvcc"
    path.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 1.2, V1.2.3'\n")
    path.chmod(0o755)
    return str(path)


def test_another_compiler_is_not_compared(script, nvcc, capsys):
    assert script.main(["--check", "--nvcc", nvcc, "--nvdisasm", "none"]) == 0
    recorded = json.loads(script.COUNTS.read_text())["nvcc"]
    assert capsys.readouterr().out == f"SKIPPED: counted with nvcc {recorded}, here is 1.2.3\n"


def test_without_a_disassembler(script, nvcc, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit):
        script.main(["--check", "--nvcc", nvcc])
    assert "--nvdisasm: found none" in capsys.readouterr().err
