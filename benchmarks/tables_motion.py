"""Right answers about motion, for the pages: ways of grouping, differences, ablations, training."""

from __future__ import annotations

import json
from statistics import median

from tables_common import MOTION, ROOT, interval, load, paragraph, table

KINDS = ("direction", "speed", "order")
RUNS = {"slow": "moves of 1/2", "fast": "moves of 1/8"}
ARMS = {
    "one group alone: stock at its 8 frames": "stock-8",
    "stock, 32 frames": "stock-32",
    "**INTP: interleaved groups (default)**": "intp-32-yarn",
    "interleaved, tokens not rearranged": "unrearranged-32-yarn",
    "contiguous groups": "contiguous-32-yarn",
    "each frame alone, repeated 8 times": "alone-32-yarn",
}
DIFFERENCES = {
    "INTP over stock at 8 frames": ("intp-32-yarn", "over_baseline"),
    "not rearranged over INTP": ("unrearranged-32-yarn", "over_intp"),
    "contiguous over interleaved groups": ("contiguous-32-yarn", "over_intp"),
    "each frame alone over interleaved groups": ("alone-32-yarn", "over_intp"),
    "stock at 32 frames over INTP": ("stock-32", "over_intp"),
}


def arms_of(run: str) -> dict[str, dict]:
    return {row["arm"]: row for row in load(f"{MOTION}/{run}")["arms"]}


def kind(found: dict, name: str) -> str:
    return f"{100 * found['kinds'][name]['mean']:.1f}"


def short() -> str:
    row = arms_of("short")["stock-8"]
    found = load(f"{MOTION}/short")
    kinds = ", ".join(f"{name} {kind(row, name)}%" for name in KINDS)
    guess = ", ".join(f"{name} {100 * found['guess'][name]:.0f}%" for name in KINDS)
    return paragraph(
        f"On short clips with its 8 frames it is right in {interval(row['accuracy'])}% of "
        f"{found['questions']} questions about {found['videos']} held-out videos ({kinds}). "
        f"Guessing: {guess}."
    )


def ablations() -> str:
    found = load(f"{MOTION}/ablations")["ablations"]
    rows = [(name, *(interval(row[one]) for one in ("all", *KINDS))) for name, row in found.items()]
    return table(("the 8 frames", "all", *KINDS), rows)


def arms() -> str:
    rows = []
    for name, arm in ARMS.items():
        cells = []
        for run in RUNS:
            row = arms_of(run)[arm]
            cells += [interval(row["accuracy"]), *(kind(row, one) for one in KINDS)]
        rows.append((name, *cells))
    head = [cell for run in RUNS.values() for cell in (run, *KINDS)]
    return table(("", *head), rows)


def differences() -> str:
    rows = []
    for name, (arm, other) in DIFFERENCES.items():
        cells = []
        for run in RUNS:
            found = arms_of(run)[arm][other]
            cells += [interval(found, "+"), interval(found["kinds"]["direction"], "+")]
        rows.append((name, *cells))
    head = [cell for run in RUNS.values() for cell in (run, "direction alone")]
    return table(("points, paired over the same videos", *head), rows)


def training() -> str:
    log = ROOT / MOTION / "training.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    steps = max(line["step"] for line in lines)
    seconds = median(line["seconds"] for line in lines)
    digest = load(f"{MOTION}/short")["about"]["weights"]
    return paragraph(
        f"{steps} steps, at the median {seconds:.2f} s on one thread of a two-core machine that "
        f"others used too: {steps * seconds / 60:.0f} minutes. Digest of the weights: {digest}."
    )


def learning() -> str:
    """Right answers in training, on clips never seen before, every so many steps."""
    log = ROOT / MOTION / "training.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    every = max(line["step"] for line in lines) // 6
    rows = [
        (str(line["step"]), *(f"{100 * line[name]:.1f}" for name in (*KINDS, "sees direction")))
        for line in lines
        if line["step"] % every == 0 or line["step"] == 50
    ]
    return table(("step", *KINDS, "direction, read off the tower"), rows)


BLOCKS = {
    "motion-short": short,
    "motion-ablations": ablations,
    "motion-arms": arms,
    "motion-differences": differences,
    "motion-training": training,
    "motion-learning": learning,
}
