"""Decode over a KV cache of 16, 8, 4 and 2 bits: one token against 4k to 128k keys.

q [1, Hq, 1, D]; keys and values bfloat16, quantised where bits are fewer. The same numbers for
every contender: sdpa and eager read the keys and values as they were before.

  intp_ext 16 .. 2    intp_ext.cached_attention(q, cache), packed bytes read in place
  intp_ext 4, on read the same over unrotated keys, rotated while they are read: it computes more
  sdpa                F.scaled_dot_product_attention, queries of one group as rows: its best form
  eager               transformers' eager attention over repeated keys

GB/s count keys and values of 16 bits for every contender: above the rate of the memory where fewer
are read. `append` in the JSON: milliseconds to quantise and write all tokens at once into memory
that was reserved, and bytes a token with everything counted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import runner
import torch
import torch.nn.functional as F
from harness import Contender, Summary
from machine import Copy

import intp_ext

BITS = (16, 8, 4, 2)
REPEATS = 5


@dataclass(frozen=True)
class Case:
    tokens: int
    heads: int
    kv_heads: int
    head_dim: int = 128
    dtype: str = "bf16"

    def label(self) -> str:
        return f"decode [1, {self.heads}/{self.kv_heads}, {self.tokens}, {self.head_dim}]"

    def bytes_moved(self) -> int:
        """Keys and values of 16 bits, read once."""
        return 2 * 2 * self.tokens * self.kv_heads * self.head_dim


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(4096, 8, 8)]
    found = [Case(tokens, 8, 8) for tokens in (4096, 16384, 32768, 131072)]
    return [*found, Case(16384, 28, 4), Case(131072, 28, 4)]


def states(case: Case) -> tuple[torch.Tensor, ...]:
    """q, and k and v as the transposed [B, S, H, D] of a model."""
    shapes = ((1, case.heads), *[(case.tokens, case.kv_heads)] * 2)
    return tuple(
        torch.randn(1, length, heads, case.head_dim).bfloat16().transpose(1, 2)
        for length, heads in shapes
    )


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    q, k, v = states(case)
    group = case.heads // case.kv_heads
    rows = q.view(1, case.kv_heads, group, case.head_dim)  # one query: the group as rows
    k, v = k.contiguous(), v.contiguous()
    caches = {}
    for bits in BITS:
        caches[bits] = intp_ext.KVCache(bits)
        caches[bits].append(k, v)

    def eager() -> torch.Tensor:
        keys, values = (x.repeat_interleave(group, 1) for x in (k, v))
        scores = q @ keys.transpose(-1, -2) * case.head_dim**-0.5
        return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ values

    def sdpa() -> torch.Tensor:
        return F.scaled_dot_product_attention(rows, k, v).view(1, case.heads, 1, -1)

    ours = [
        Contender(
            f"intp_ext {bits}",
            lambda cache=cache: intp_ext.cached_attention(q, cache),
            None if bits == 16 else "intp_ext 16",
            same=bits >= 8,
        )
        for bits, cache in caches.items()
    ]
    rope = intp_ext.rope_frequencies("none", case.head_dim)
    unrotated = intp_ext.KVCache(4, rope=rope, rotate="on_read")
    unrotated.append(k, v)
    on_read = Contender(
        "intp_ext 4, on read",
        lambda: intp_ext.cached_attention(q, unrotated),
        "intp_ext 16",
        same=False,
    )
    others = [Contender("sdpa", sdpa, "intp_ext 16"), Contender("eager", eager, "intp_ext 16")]
    return [*ours, on_read, *others]


def measure_append(case: Case) -> list[dict]:
    """Milliseconds to cache all tokens at once, and bytes of one token, by bits."""
    _, k, v = states(case)
    found = []
    for bits in BITS:
        taken = []
        for _ in range(REPEATS):
            cache = intp_ext.KVCache(bits, capacity=case.tokens)
            cache.append(k[:, :, :1], v[:, :, :1])
            cache.reset()  # reserved: the first touch of its pages is not counted
            begin = time.perf_counter()
            cache.append(k, v)
            taken.append(1e3 * (time.perf_counter() - begin))
        found.append(
            {
                "bits": bits,
                "ms": Summary.of(taken).median,
                "bytes_per_token": cache.nbytes / case.tokens,
                "share_of_16_bits": cache.nbytes / case.bytes_moved(),
            }
        )
    return found


BENCHMARK = runner.Benchmark(
    name="kv_cache",
    description=__doc__,
    cases=cases,
    contenders=contenders,
    tolerance={"bf16": 0.05},
)


def main(argv: Sequence[str] | None = None) -> int:
    code = runner.run(BENCHMARK, argv)
    options = runner.parse(BENCHMARK, argv)
    torch.set_num_threads(options.threads[-1])
    append = [{"case": case.label(), "by_bits": measure_append(case)} for case in cases(True)]
    for entry in append:
        for row in entry["by_bits"]:
            print(
                f"append, {entry['case']}, {row['bits']} bits: {row['ms']:.2f} ms, "
                f"{row['bytes_per_token']:.0f} bytes a token, "
                f"{row['share_of_16_bits']:.3f} of 16 bits"
            )
    if options.json:
        report = json.loads(options.json.read_text())
        options.json.write_text(json.dumps({**report, "append": append}, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
