"""Bugs that the tests must catch: a change of text each, and the cases that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from cuda_on_host.build import CSRC, Library
from cuda_on_host.comparisons import RearrangeCase, RopeCase


class Case(Protocol):
    def check(self, library: Library) -> None: ...


@dataclass(frozen=True)
class Bug:
    """``old`` occurs once in the file (below csrc/) and becomes ``new``."""

    name: str
    file: str
    old: str
    new: str
    cases: tuple[Case, ...]

    def changed(self) -> dict[str, str]:
        text = (CSRC / self.file).read_text()
        if text.count(self.old) != 1:
            raise LookupError(
                f"{self.name}: expected once in csrc/{self.file}, found {text.count(self.old)} "
                f"times: {self.old!r}. The source has changed: plant the bug anew"
            )
        return {self.file: text.replace(self.old, self.new)}


REARRANGE = "rearrange/rearrange_cuda_kernel.cu"
ROPE = "rope/cuda_rope.h"

# Wrong results, within the memory of the tensors.
WRONG_RESULT = [
    Bug(
        "rearrange: row s instead of order[s]",
        REARRANGE,
        "(inside ? source * p.features_stride_r : 0)",
        "s * p.features_stride_r",
        (RearrangeCase(),),
    ),
    Bug(
        "rearrange: the first batch row's order for all",
        REARRANGE,
        "source_row(p.order, b, s)",
        "source_row(p.order, 0, s)",
        (RearrangeCase(),),
    ),
    Bug(
        "rearrange: only the first part of a long row",
        REARRANGE,
        "first += gridDim.y * part",
        "first += params.vectors",
        (RearrangeCase(batch=1, rows=2, length=1, channels=2**18, dtype=torch.int8, offset=1),),
    ),
    Bug(
        "rope: row s instead of order[s]",
        ROPE,
        "source * x.in_stride_s",
        "(block.first + item.token) * x.in_stride_s",
        (RopeCase(order="[S]"),),
    ),
    Bug(
        "rope: every head of k is its first",
        ROPE,
        "return {&p.tensors[1], token, head - heads,",
        "return {&p.tensors[1], token, 0,",
        (RopeCase(),),
    ),
    Bug(
        "rope: turned backwards",
        ROPE,
        "u * cos[row + n] - v * sin[row + n]",
        "u * cos[row + n] + v * sin[row + n]",
        (RopeCase(),),
    ),
    Bug(
        "rope: the partner half a head away, though only a part of it is turned",
        ROPE,
        "(from + p.frequencies)",
        "(from + p.head_dim / 2)",
        (RopeCase(rest=16),),
    ),
    Bug(
        "rope: what passes through is taken from the half that is turned",
        ROPE,
        "(pack < block.turned ? pack : block.turned + pack)",
        "pack",
        (RopeCase(rest=16),),
    ),
    Bug(
        "rope: one axis of three",
        ROPE,
        "axis * p.position_stride_a",
        "0 * p.position_stride_a",
        (RopeCase(positions="[3, B, S]"),),
    ),
    Bug(
        "rope: the sines of the tile's first token for all",
        ROPE,
        "const int row = item.token * static_cast<int>(p.frequencies) + item.channel",
        "const int row = item.channel",
        (RopeCase(batch=1, rows=1100, half=8),),
    ),
    Bug(
        "rope: no barrier between writing and reading the sines",
        ROPE,
        "fill_table<Traits>(p, block, cos, sin);\n    __syncthreads();",
        "fill_table<Traits>(p, block, cos, sin);",
        (RopeCase(heads=(8, 8), half=40),),
    ),
    Bug(
        "rope: no barrier before the sines are written again",
        ROPE,
        "    __syncthreads();  // before the table of the next batch row\n",
        "",
        (RopeCase(batch=1100, heads=(5, 0), rows=1, half=9, positions="[B, S]"),),
    ),
]

# Beyond the memory of a tensor, or at an address that the hardware refuses: what AddressSanitizer
# and the alignment check must report.
WRONG_ADDRESS = [
    Bug(
        "rearrange: rows that order does not have",
        REARRANGE,
        "0 <= source && source < p.rows;",
        "true;",
        (RearrangeCase(bad=True, index=torch.int64),),
    ),
    Bug(
        "rearrange: store without a bound",
        REARRANGE,
        "if (at < params.vectors) to[at]",
        "to[at]",
        (RearrangeCase(channels=264),),
    ),
    Bug(
        "rearrange: 16 bytes at an address of 4",
        REARRANGE,
        "alignment % 16 == 0",
        "alignment % 4 == 0",
        (RearrangeCase(channels=24, offset=2),),
    ),
    Bug(
        "rope: rows that order does not have",
        ROPE,
        "if (source < 0 || source >= p.rows) continue;",
        "",
        (RopeCase(order="[S]", bad=True, index=torch.int64),),
    ),
    Bug(
        "rope: the last tile as long as the others",
        ROPE,
        "min(int64_t{tile.tokens}, p.length - block.first)",
        "int64_t{tile.tokens}",
        (RopeCase(batch=1, rows=1101, half=8),),
    ),
]
