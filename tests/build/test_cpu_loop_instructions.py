"""The counts of the CPU's main loops, on listings as objdump writes them."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "csrc/cpu/loop_instructions.py"

# In the loop of x86-64 a smaller one, which has more turns but fewer products than the one behind.
X86 = """
loops.o:     file format elf64-x86-64

Disassembly of section .text:

0000000000000000 <other()>:
   0:\tret

0000000000000010 <void prefill<intp::cpu::Float32>(long)>:
  10:\tvmovups (%rdi),%ymm1
  14:\tvmovups (%rdi),%ymm1
  18:\tvfmadd231ps (%rax),%ymm1,%ymm2
  20:\tjne    14 <void prefill<intp::cpu::Float32>(long)+0x4>
  24:\tvbroadcastss (%rsi),%ymm0
  28:\tvfmadd231ps %ymm0,%ymm1,%ymm2
  2c:\tvfmadd213ps %ymm0,%ymm1,%ymm3
  30:\tadd    $0x4,%rsi
  34:\tcmp    %rsi,%rdx
  38:\tjne    24 <void prefill<intp::cpu::Float32>(long)+0x14>
  3c:\tjne    10 <void prefill<intp::cpu::Float32>(long)>
  40:\tvdpbf16ps (%rax),%zmm1,%zmm2
"""
ARM = """
0000000000000000 <void prefill<intp::cpu::BFloat16>(long)>:
   0:\tldr\tq0, [x0]
   4:\tfmla\tv4.4s, v1.4s, v0.s[1]
   8:\tbfdot\tv4.4s, v1.8h, v0.2h[2]
   c:\tb.ne\t4 <void prefill<intp::cpu::BFloat16>(long)+0x4>  // b.any
  10:\tb\t14 <void prefill<intp::cpu::BFloat16>(long)+0x14>
  14:\tret
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cpu_loop_instructions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_the_loop_with_the_most_products(script):
    (_, other), (name, code) = script.functions(X86)
    assert len(other) == 1 and name == "void prefill<intp::cpu::Float32>(long)"
    loop = script.main_loop(code)
    assert [hex(instruction.address) for instruction in loop[:2]] == ["0x24", "0x28"]
    assert [instruction.multiply_adds for instruction in loop] == [0, 8, 8, 0, 0, 0]
    assert code[-1].multiply_adds == 32
    with pytest.raises(AssertionError, match="without a loop"):
        script.main_loop(other)


def test_loops_of_arm(script):
    ((_, code),) = script.functions(ARM)
    assert [instruction.multiply_adds for instruction in script.main_loop(code)] == [4, 8, 0]


def test_what_changed_is_said(script):
    def row(loop, products, instructions):
        found = script.Count(loop, "float32", "avx2", 8 * products, products, instructions)
        return vars(found)

    before = [row("a", 12, 24), row("b", 12, 24), row("c", 1, 1)]
    assert script.changes(before, before) == []
    assert script.changes(before, [row("a", 12, 24), row("b", 12, 25), row("d", 1, 1)]) == [
        "b, float32, avx2, instructions: 24 before, 25 now",
        "c, float32, avx2: is gone",
        "d, float32, avx2: is new",
    ]
