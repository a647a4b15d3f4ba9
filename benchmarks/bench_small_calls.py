"""What a call costs where there is hardly anything to compute: microseconds, in parts.

q [1, 4, 4, 32] over as many keys, or one token over a cache of 64; float32, no_grad, one
thread or --threads. Operators and torch's scaled_dot_product_attention are timed in the same
rounds.

  checks        Python before the operator, but for the bounds
  bounds        of the call: which keys a query sees
  dispatch      the operator on no rows, into a given output: torch's way to the C++, and its checks
  allocation    of the result
  kernel        what is left

And the import of intp_ext, after torch's own and with byte code that is there already; one by one:

  python -X importtime -c "import intp_ext"
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
import torch
import torch.nn.functional as F
from harness import Summary

import intp_ext

GOAL, IMPORT_GOAL = 30.0, 40.0  # microseconds a call, milliseconds
SDPA = "scaled_dot_product_attention"
ROUNDS, CALLS, IMPORTS = 101, 50, 7
HEADS, ROWS, DIM, CACHED = 4, 4, 32, 64
OPS = torch.ops.intp_ext
IMPORT = """
import time, torch
begin = time.perf_counter()
import intp_ext
print(1e3 * (time.perf_counter() - begin))
"""

Call = Callable[[], object]


@dataclass(frozen=True)
class Operator:
    """One public call, and what is inside it.

    Args:
        name: of the call.
        call: it.
        inside: the operator that it calls, with the same arguments.
        into: the operator that writes into a given output; None where ``inside`` does.
        nothing: ``into`` of no rows.
        bounds: what finds the keys that are seen; None where nothing does.
        before: done before every round, untimed.
    """

    name: str
    call: Call
    inside: Call
    into: Call | None
    nothing: Call
    bounds: Call | None = None
    before: Call | None = None

    def parts(self) -> dict[str, Call]:
        found = {"call": self.call, "inside": self.inside, "into": self.into}
        found |= {"nothing": self.nothing, "bounds": self.bounds}
        return {name: call for name, call in found.items() if call is not None}


def operators() -> list[Operator]:
    q, k, v = (torch.randn(1, HEADS, ROWS, DIM) for _ in range(3))
    q_out, k_out, no_rows = torch.empty_like(q), torch.empty_like(k), q[:, :, :0]
    rope, positions = intp_ext.rope_frequencies("none", DIM), torch.arange(ROWS)
    no_positions = positions[:0]
    turn = (rope.inv_freq, 1.0, None, False, None)
    features, order = torch.randn(1, ROWS, DIM), torch.arange(ROWS).flip(0)
    features_out = torch.empty_like(features)
    no_order, no_features = order[:0], features_out[:, :0]

    def attention_of(name: str, call: Call, q, k, v, offset: int) -> Operator:
        out, no_rows = torch.empty_like(q), q[:, :, :0]
        rows = intp_ext.Bounds.of_call(None, q, k.shape[2], offset, None, name).rows
        seen = (rows, None, 1, 0, DIM**-0.5)
        return Operator(
            name,
            call,
            lambda: OPS.attention_core_no_grad(q, k, v, *seen),
            lambda: OPS.attention_core.out(q, k, v, *seen, out=out),
            lambda: OPS.attention_core.out(no_rows, k, v, *seen, out=no_rows),
            lambda: intp_ext.Bounds.of_call(None, q, k.shape[2], offset, None, name),
        )

    cache, growing = intp_ext.KVCache(), intp_ext.KVCache(capacity=2 * CALLS)
    cache.append(*(torch.randn(1, HEADS, CACHED, DIM) for _ in range(2)))
    token = [x[:, :, :1] for x in (q, k, v)]
    growing.append(*token[1:])
    buffers = growing.held()[0]

    def append_op(*states: torch.Tensor) -> None:
        OPS.kv_append(
            *states, None, None, 1.0, None, False, None, None, None,
            0, 0, 0, 16, 16, 64, 64, None, None, *buffers,
        )  # fmt: skip

    return [
        attention_of("attention", lambda: intp_ext.attention(q, k, v), q, k, v, 0),
        Operator(
            "apply_rope",
            lambda: intp_ext.apply_rope(q, k, positions, rope),
            lambda: OPS.apply_rope_no_grad(q, k, positions, *turn),
            lambda: OPS.apply_rope.out(q, k, positions, *turn, out_q=q_out, out_k=k_out),
            lambda: OPS.apply_rope.out(
                no_rows, no_rows, no_positions, *turn, out_q=no_rows, out_k=no_rows
            ),
        ),
        Operator(
            "rearrange",
            lambda: intp_ext.rearrange(features, order),
            lambda: OPS.rearrange.out(features, order, out=torch.empty_like(features)),
            lambda: OPS.rearrange.out(features, order, out=features_out),
            lambda: OPS.rearrange.out(features, no_order, out=no_features),
        ),
        Operator(
            "KVCache.append",
            lambda: growing.append(*token[1:]),
            lambda: append_op(*token[1:]),
            None,
            lambda: append_op(no_rows, no_rows),
            before=growing.reset,
        ),
        attention_of(
            "cached_attention",
            lambda: intp_ext.cached_attention(token[0], cache),
            token[0],
            *cache.rows(),
            CACHED - 1,
        ),
    ]


def microseconds(call: Call) -> float:
    begin = time.perf_counter()
    for _ in range(CALLS):
        call()
    return 1e6 * (time.perf_counter() - begin) / CALLS


def measure(found: Sequence[Operator], sdpa: Call, rounds: int) -> dict[str, dict[str, list]]:
    """Of every part of every operator, microseconds in each round; SDPA is one of them."""
    parts = {operator.name: operator.parts() for operator in found} | {SDPA: {"call": sdpa}}
    before = {operator.name: operator.before for operator in found}
    taken = {name: {part: [] for part in calls} for name, calls in parts.items()}
    for number in range(rounds + 1):
        gc.collect()
        gc.disable()
        try:
            for name, calls in parts.items():
                for part, call in calls.items():
                    if (prepare := before.get(name)) is not None:
                        prepare()
                    us = microseconds(call)
                    if number > 0:  # the first round warms up
                        taken[name][part].append(us)
        finally:
            gc.enable()
    return taken


def in_parts(taken: dict[str, list]) -> dict[str, float]:
    """Medians, as differences: what each step adds."""
    us = {part: statistics.median(values) for part, values in taken.items()}
    into = us.get("into", us["inside"])
    bounds = us.get("bounds", 0.0)
    return {
        "checks": us["call"] - us["inside"] - bounds,
        "bounds": bounds,
        "dispatch": us["nothing"],
        "allocation": us["inside"] - into,
        "kernel": into - us["nothing"],
    }


def import_ms(imports: int) -> list[float]:
    """Of intp_ext in a new process that has imported torch, with byte code that is there."""
    with tempfile.TemporaryDirectory() as kept:
        root = str(Path(intp_ext.__file__).parents[1])
        path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": kept}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", IMPORT]
        runs = [
            float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
            for _ in range(imports + 1)
        ]
    return runs[1:]  # the first one compiled the byte code


def report(rounds: int, imports: int, threads: int) -> dict:
    described = machine.describe(torch.device("cpu"))
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        q, k, v = (torch.randn(1, HEADS, ROWS, DIM) for _ in range(3))
        with torch.no_grad():
            taken = measure(
                operators(), lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), rounds
            )
    finally:
        torch.set_num_threads(before)
    sdpa = taken.pop(SDPA)["call"]
    return {
        "machine": described,
        "shape": [1, HEADS, ROWS, DIM],
        "threads": threads,
        "rounds": rounds,
        "goal_us": GOAL,
        "operators": [
            {
                "name": name,
                "us": asdict(Summary.of(parts["call"])),
                "parts_us": in_parts(parts),
                "times_sdpa": statistics.median(
                    ours / theirs for ours, theirs in zip(parts["call"], sdpa, strict=True)
                ),
            }
            for name, parts in taken.items()
        ],
        "sdpa_us": asdict(Summary.of(sdpa)),
        "import": {"ms": asdict(Summary.of(import_ms(imports))), "goal_ms": IMPORT_GOAL},
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was measured")
    options = parser.parse_args(argv)
    if options.threads < 1:
        parser.error("--threads: expected at least 1")
    found = report(*((5, 2) if options.quick else (ROUNDS, IMPORTS)), options.threads)
    names = ("checks", "bounds", "dispatch", "allocation", "kernel")
    print(f"{'us':<20} {'call':>7} " + " ".join(f"{name:>10}" for name in names) + "   of SDPA")
    for row in found["operators"]:
        parts = " ".join(f"{row['parts_us'][name]:10.1f}" for name in names)
        print(f"{row['name']:<20} {row['us']['median']:7.1f} {parts} {row['times_sdpa']:9.1f} x")
    print(f"{SDPA}: {found['sdpa_us']['median']:.1f} us")
    took = found["import"]["ms"]
    print(f"import intp_ext, after torch: {took['median']:.0f} ms ({took['min']:.0f} at best)")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
