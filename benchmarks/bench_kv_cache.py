"""Decode over a KV cache of 16, 8, 4, 3, 2.5 and 2 bits: one token against 4k to 128k keys.

q [1, Hq, 1, D]; keys and values bfloat16, quantized where bits are fewer. The same numbers for
every contender: sdpa and eager read the keys and values as they were before.

  intp_ext 16 .. 2    intp_ext.cached_attention(q, cache), packed bytes read in place
  intp_ext 4, on read the same over unrotated keys, rotated while they are read: it computes more
  sdpa                F.scaled_dot_product_attention, queries of one group as rows: its best form
  eager               transformers' eager attention over repeated keys
  QuantizedCache 4    a step of transformers' cache of 4 bits by optimum-quanto, groups of 64, up to
                      16384 keys: its update with the new token, which unpacks everything, then
                      sdpa. Every 128 tokens it packs everything anew (see append): not counted
  read, read 4 bits   the memory of the caches of 16 and of 4 bits by torch's maximum: what no way
                      to compute it can be faster than at that time

GB/s count keys and values of 16 bits for every contender: above the rate of the memory where fewer
are read. `append` in the JSON: milliseconds to quantize and write all tokens at once, by our cache
into memory that was reserved, and bytes a token with everything counted.

Limit: the FLOP of both products at the peak of bfloat16: near with several queries a key head.

For QuantizedCache: pip install optimum-quanto ninja; without them it is left out, and says so.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import processor
import runner
import torch
import torch.nn.functional as F
from harness import CacheFlush, Contender, Summary, time_once
from machine import Copy

import intp_ext

BITS = (16, 8, 4, 3, 2.5, 2)
REPEATS = 5
QUANTO_BITS, QUANTO_GROUP = 4, 64
QUANTO_TOKENS = 16384  # with more, its steps would take longer than everything else


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

    def flops(self) -> int:
        """Of both products, at any number of bits."""
        return 4 * self.tokens * self.heads * self.head_dim


def cases(quick: bool) -> Sequence[Case]:
    if quick:
        return [Case(4096, 8, 8)]
    found = [Case(tokens, 8, 8) for tokens in (4096, 16384, 32768, 131072)]
    return [*found, Case(16384, 28, 4), Case(131072, 28, 4)]


def states(case: Case, device: torch.device) -> tuple[torch.Tensor, ...]:
    """q, and k and v as the transposed [B, S, H, D] of a model."""
    shapes = ((1, case.heads), *[(case.tokens, case.kv_heads)] * 2)
    return tuple(
        torch.randn(1, length, heads, case.head_dim, device=device).bfloat16().transpose(1, 2)
        for length, heads in shapes
    )


def quanto_layer():
    """A layer of transformers' QuantizedCache, keys and values by tokens' channels as it does.

    Raises:
        ImportError: optimum-quanto or this part of transformers is missing.
    """
    from transformers.cache_utils import QuantoQuantizedLayer

    return QuantoQuantizedLayer(nbits=QUANTO_BITS, q_group_size=QUANTO_GROUP)


def quanto_bytes(layer) -> int:
    """Codes, scales and zeros of its packed tokens."""
    packed = (layer._quantized_keys, layer._quantized_values)
    parts = [x for tensor in packed for x in (tensor._data._data, tensor._scale, tensor._shift)]
    return sum(x.numel() * x.element_size() for x in parts)


def quanto_step(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Update with the last token and attend, over and over from the same state."""
    layer = quanto_layer()
    layer.update(k[:, :, :-1], v[:, :, :-1])
    residual = layer.keys, layer.values
    new = k[:, :, -1:].clone(), v[:, :, -1:].clone()

    def step() -> torch.Tensor:
        keys, values = layer.update(*new)
        layer.keys, layer.values = residual
        rows = q.view(1, k.shape[1], -1, q.shape[3])
        return F.scaled_dot_product_attention(rows, keys, values).view(q.shape)

    return step


def contenders(case: Case, device: torch.device, copy: Copy) -> list[Contender]:
    q, k, v = states(case, device)
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
    rope = intp_ext.rope_frequencies("none", case.head_dim, device=device)
    unrotated = intp_ext.KVCache(4, rope=rope, rotate="on_read")
    unrotated.append(k, v)
    on_read = Contender(
        "intp_ext 4, on read",
        lambda: intp_ext.cached_attention(q, unrotated),
        "intp_ext 16",
        same=False,
    )
    others = [Contender("sdpa", sdpa, "intp_ext 16"), Contender("eager", eager, "intp_ext 16")]
    if case.tokens <= QUANTO_TOKENS:
        others.append(quanto_contender(q, k, v))
    memory = {"read": caches[16].rows(), "read 4 bits": caches[4].pages()}
    for name, tensors in memory.items():
        others.append(
            Contender(
                name,
                processor.reader(tensors),
                "intp_ext 16" if name == "read" else "intp_ext 4",
                same=False,
            )
        )
    return [*ours, on_read, *others]


def quanto_contender(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Contender:
    """Optional: its first call compiles an extension of optimum-quanto, or says what is missing."""
    step: list[Callable[[], torch.Tensor]] = []

    def run() -> torch.Tensor:
        if not step:
            step.append(quanto_step(q, k, v))
        return step[0]()

    return Contender(f"QuantizedCache {QUANTO_BITS}", run, "intp_ext 4", same=False, optional=True)


def milliseconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        CacheFlush(device)()  # what is timed is queued behind it
    return 1e3 * time_once(run, device)


def measure_append(case: Case, device: torch.device) -> list[dict]:
    """Milliseconds to cache all tokens at once, and bytes of one token, by bits."""
    _, k, v = states(case, device)
    found = []
    for bits in BITS:
        taken = []
        for _ in range(REPEATS):
            cache = intp_ext.KVCache(bits, capacity=case.tokens)
            cache.append(k[:, :, :1], v[:, :, :1])
            cache.reset()  # reserved: the first touch of its pages is not counted
            taken.append(milliseconds(lambda cache=cache: cache.append(k, v), device))
        found.append(
            {
                "name": "intp_ext",
                "bits": bits,
                "ms": Summary.of(taken).median,
                "bytes_per_token": cache.nbytes / case.tokens,
                "share_of_16_bits": cache.nbytes / case.bytes_moved(),
            }
        )
    return [*found, *measure_quanto(case, k, v)]


def measure_quanto(case: Case, k: torch.Tensor, v: torch.Tensor) -> list[dict]:
    """The same of transformers' QuantizedCache; nothing where it is not installed."""
    taken = []
    for _ in range(REPEATS):
        try:
            layer = quanto_layer()
        except ImportError as error:
            return [{"name": "QuantizedCache", "refused": str(error).splitlines()[0]}]
        taken.append(milliseconds(lambda layer=layer: layer.update(k, v), k.device))
    used = quanto_bytes(layer)
    return [
        {
            "name": "QuantizedCache",
            "version": importlib.metadata.version("optimum-quanto"),
            "bits": QUANTO_BITS,
            "ms": Summary.of(taken).median,
            "bytes_per_token": used / case.tokens,
            "share_of_16_bits": used / case.bytes_moved(),
        }
    ]


def arithmetic_limit(case: Case, peaks: dict) -> float | None:
    """Milliseconds that the arithmetic takes; None on a GPU, where decode is far from it."""
    peak = peaks.get("peak_bf16_gflop_per_s")
    return case.flops() / peak / 1e6 if peak else None


BENCHMARK = runner.Benchmark(
    name="kv_cache",
    description=__doc__,
    cases=cases,
    contenders=contenders,
    limit=arithmetic_limit,
    tolerance={"bf16": 0.05},
)


def main(argv: Sequence[str] | None = None) -> int:
    code = runner.run(BENCHMARK, argv)
    options = runner.parse(BENCHMARK, argv)
    if options.dry_run:
        return code
    torch.set_num_threads(options.threads[-1])
    device = torch.device(options.device)
    append = [
        {"case": case.label(), "by_bits": measure_append(case, device)} for case in cases(True)
    ]
    for entry in append:
        for row in entry["by_bits"]:
            if "refused" in row:
                print(f"append, {row['name']}: {row['refused']}")
                continue
            print(
                f"append, {entry['case']}, {row['name']} {row['bits']} bits: {row['ms']:.2f} ms, "
                f"{row['bytes_per_token']:.0f} bytes a token, "
                f"{row['share_of_16_bits']:.3f} of 16 bits"
            )
    if options.json:
        report = json.loads(options.json.read_text())
        options.json.write_text(json.dumps({**report, "append": append}, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
