"""What every benchmark shares: its command line, the loop over cases, JSON and the table."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import machine
import placement
import torch
from harness import Contender, Summary, Timing, interleave
from tqdm import tqdm

COPY = "copy"  # the contender that only copies: the yardstick
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Case(Protocol):
    """A frozen dataclass: its fields are the case in the JSON."""

    def label(self) -> str: ...

    def bytes_moved(self) -> int:
        """The fewest bytes that any way to compute it must read and write."""

    # Where arithmetic is what counts, `flops(self) -> int` too: then GFLOP/s are reported.


@dataclass(frozen=True)
class Benchmark:
    """``contenders(case, device, copy)`` makes the inputs and the ways to compute, which must agree
    within ``tolerance[dtype]`` (absolute).

    ``limit(case, peaks)``: the milliseconds below which the machine cannot be, by its measured
    peaks. ``goals(case)``: how many times as fast as a contender ours was meant to be.
    """

    name: str
    description: str
    cases: Callable[[bool], Sequence[Case]]
    contenders: Callable[[Case, torch.device, machine.Copy], list[Contender]]
    tolerance: dict[str, float]
    gpu_cases: Callable[[bool], Sequence[Case]] | None = None  # where the CPU's are not enough work
    limit: Callable[[Case, dict], float | None] = lambda case, peaks: None
    goals: Callable[[Case], dict[str, float]] = lambda case: {}


def parse(benchmark: Benchmark, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=benchmark.description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    placement.add_options(parser)
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        metavar="N",
        help="thread counts to measure, one after the other (default: all cores; ignored on a GPU)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few cases, few repeats, small buffers: under a minute"
    )
    parser.add_argument(
        "--seconds", type=float, help="time for the repeats of one case (default: 3, quick: 0.5)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="write everything that was measured"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the --json file has, measure the rest"
    )
    options = parser.parse_args(argv)
    placement.check_options(parser, options)
    if options.device == "cuda":
        options.threads = [torch.get_num_threads()]
    options.threads = options.threads or [torch.get_num_threads()]
    if min(options.threads) < 1:
        parser.error("--threads: expected at least 1")
    options.seconds = options.seconds or (0.5 if options.quick else 3.0)
    return options


def check_agreement(contenders: Sequence[Contender], tolerance: float) -> None:
    """All but the copy compute the same thing; a fast wrong answer is no answer."""
    expected = contenders[0].run()
    for contender in contenders[1:]:
        if contender.name == COPY or not contender.same:
            continue
        torch.testing.assert_close(
            contender.run(), expected, rtol=0, atol=tolerance,
            msg=lambda text, name=contender.name: f"{name} computes something else: {text}",
        )  # fmt: skip


def result_rows(
    contenders: Sequence[Contender],
    timings: dict[str, Timing],
    case: Case,
    limit: float | None = None,
    goals: dict[str, float] | None = None,
) -> Iterator[dict]:
    """Milliseconds, GB/s and GFLOP/s by the counts of the case; where a copy was timed in the same
    rounds, the share of it; where there is a limit (ms), how near to it, and how near a goal is."""
    copy = timings.get(COPY)
    for contender in contenders:
        timing = timings[contender.name]
        milliseconds = Summary.of([1e3 * seconds for seconds in timing.seconds])
        row = {
            "name": contender.name,
            "ms": asdict(milliseconds),
            "repeats": len(timing.seconds),
            "gb_per_s": case.bytes_moved() / milliseconds.median / 1e6,
            "compile_s": timing.first_call if contender.compiled else None,
            "first_call_mib": timing.first_call_mib,
        }
        if limit is not None:
            row["share_of_limit"] = limit / milliseconds.median
            times = (goals or {}).get(contender.name)
            if times is not None:
                needs = times * row["share_of_limit"]
                row["goal"] = {"times": times, "needs_share_of_limit": needs}
        if copy is not None:
            row["share_of_copy"] = copy.ratio_to(timing).median
        if hasattr(case, "flops"):
            row["gflop_per_s"] = case.flops() / milliseconds.median / 1e6
        if contender.against:
            ratio = asdict(timing.ratio_to(timings[contender.against]))
            row["times_as_long_as"] = {"name": contender.against, **ratio}
        yield row


def table(label: str, bytes_moved: int, rows: Sequence[dict]) -> Iterator[str]:
    yield f"{label}, {bytes_moved / 1e6:.0f} MB"
    width = max(len(row["name"]) for row in rows)
    columns = f"{'ms':>9} {'q1 .. q3':>19} {'GB/s':>8}"
    columns += f" {'of copy':>8}" * ("share_of_copy" in rows[0])
    columns += f" {'GFLOP/s':>8}" * ("gflop_per_s" in rows[0])
    columns += f" {'of limit':>8}" * ("share_of_limit" in rows[0])
    yield f"  {'':<{width}} {columns}  ours is faster by"
    for row in rows:
        ms, ratio = row["ms"], row.get("times_as_long_as")
        line = f"  {row['name']:<{width}} {ms['median']:9.3f} {ms['q1']:8.3f} .. {ms['q3']:7.3f}"
        line += f" {row['gb_per_s']:8.1f}"
        if "share_of_copy" in row:
            line += f" {row['share_of_copy']:8.0%}"
        if "gflop_per_s" in row:
            line += f" {row['gflop_per_s']:8.0f}"
        if "share_of_limit" in row:
            line += f" {row['share_of_limit']:8.0%}"
        if ratio:
            line += f"  {ratio['median']:.2f} ({ratio['q1']:.2f} .. {ratio['q3']:.2f})"
        if "goal" in row:
            goal = row["goal"]
            line += f"; goal {goal['times']}: {goal['needs_share_of_limit']:.0%} of the limit"
        if row["compile_s"] is not None:
            line += f"; compiling took {row['compile_s']:.1f} s"
        yield line


def cases_of(benchmark: Benchmark, options: argparse.Namespace) -> Sequence[Case]:
    on_gpu = options.device == "cuda" and benchmark.gpu_cases is not None
    return (benchmark.gpu_cases if on_gpu else benchmark.cases)(options.quick)


def run(benchmark: Benchmark, argv: Sequence[str] | None = None) -> int:
    options = parse(benchmark, argv)
    device = torch.device(options.device)
    if options.dry_run:
        for case in cases_of(benchmark, options):
            print(f"{case.label()}, {case.bytes_moved() / 1e6:.0f} MB")
        return 0
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # compile times without an earlier run's help
        measure(benchmark, options, device)
    return 0


def measure(benchmark: Benchmark, options: argparse.Namespace, device: torch.device) -> None:
    """Every case at every thread count; the JSON is there from the first case on."""
    report = {
        "benchmark": benchmark.name,
        "device": options.device,
        "complete": False,
        "machine": machine.describe(device),
        "peaks": [],
        "results": [],
    }
    if options.resume and options.json and options.json.exists():
        report = json.loads(options.json.read_text())
    cases = cases_of(benchmark, options)
    progress = tqdm(total=len(cases) * len(options.threads), file=sys.stderr, desc=benchmark.name)
    for threads in options.threads:
        torch.set_num_threads(threads)
        done = [r["case"] for r in report["results"] if r["threads"] == threads]
        todo = [case for case in cases if asdict(case) not in done]
        progress.update(len(cases) - len(todo))
        if not todo:
            continue
        found, copy = machine.peaks(device, threads, mib=128 if options.quick else 512)
        report["peaks"].append(found)
        where = "GPU" if device.type == "cuda" else f"threads: {threads}"
        for case in todo:
            label = f"{case.label()}, {where}"
            progress.set_postfix_str(label)
            torch.compiler.reset()  # compiled code of one case must not serve another
            with torch.inference_mode():
                contenders = benchmark.contenders(case, device, copy)
                timings, refused = interleave(contenders, device, options.seconds)
                contenders = [c for c in contenders if c.name in timings]
                check_agreement(contenders, benchmark.tolerance[case.dtype])
            limit, goals = benchmark.limit(case, found), benchmark.goals(case)
            rows = list(result_rows(contenders, timings, case, limit, goals))
            del contenders
            report["results"].append(
                {
                    "case": asdict(case),
                    "threads": threads,
                    "bytes": case.bytes_moved(),
                    "limit_ms": limit,
                    "contenders": rows,
                    "refused": refused,
                }
            )
            lines = table(label, case.bytes_moved(), rows)
            refusals = [f"  {name}: refused, {reason}" for name, reason in refused.items()]
            progress.write("\n".join([*lines, *refusals]), file=sys.stdout)
            sys.stdout.flush()
            progress.update()
            report["machine"]["load_at_end"] = os.getloadavg()[0]
            report["complete"] = progress.n == progress.total
            if options.json:
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    progress.close()
