"""The commands, in the order in which they are to be run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from .published import BENCHMARKS, FRAMES, MODEL, Benchmark


def evaluation(benchmark: Benchmark, model: str = MODEL, rope: str = "ntk") -> list[str]:
    """``intp-video eval`` on a question file, stock at 8 frames as the baseline."""
    shown = [] if benchmark.judge else ["--show-options"]
    return [
        *("intp-video", "eval", f"questions/{benchmark.name}.jsonl", "--model", model),
        *("--methods", "stock", "intp", "--ropes", rope, "--frames", *map(str, FRAMES)),
        *("--max-new-tokens", "64" if benchmark.judge else "16", *shown),
        *("--dtype", "bfloat16", "--device", "cuda", "--out", f"results/{benchmark.name}"),
    ]


def script(benchmarks: Sequence[Benchmark] = BENCHMARKS, model: str = MODEL) -> str:
    """A shell script; each command goes on where it was interrupted."""
    return "".join(f"{line}\n" for line in _lines(benchmarks, model))


def _lines(benchmarks: Sequence[Benchmark], model: str) -> Iterator[str]:
    yield "#!/bin/sh"
    yield "# Written by python -m intp_video.lab.reproduce_paper. Nothing of this has been run by"
    yield "# those who wrote it: it needs the weights, the videos and a GPU."
    yield "#"
    yield "# Before: questions/NAME.jsonl for each set, one JSON object a line with video,"
    yield "# question, answer, and options where the set has them (intp-video eval --help)."
    yield "set -e"
    for benchmark in benchmarks:
        yield f"\n# {benchmark.title}"
        yield shlex.join(evaluation(benchmark, model))
        if benchmark.judge:
            results = f"results/{benchmark.name}"
            yield f"# open answers: give {results}/judge/ARM.jsonl to your judge, and write"
            yield f"# {{ARM: per cent}} as JSON into {results}/judged.json"
    yield "\npython -m intp_video.lab.reproduce_paper . --json results"
