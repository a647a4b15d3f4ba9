"""Right answers of the small model, for the pages: every arm, differences, bits, its card."""

from __future__ import annotations

import json
from functools import partial
from statistics import median

from tables_common import ROOT, SMALL_MODEL, interval, load, paragraph, table

ARMS = {
    "stock: more frames and nothing else": "stock-{}",
    "INTP, RoPE `none`": "intp-{}-none",
    "INTP, `ntk`": "intp-{}-ntk",
    "INTP, `dynamic_ntk`": "intp-{}-dynamic_ntk",
    "INTP, `linear`": "intp-{}-linear",
    "**INTP, `yarn` (default)**": "intp-{}-yarn",
    'INTP, `linear` with `span="visual"`': "intp-{}-visual",
    "the default, tokens not rearranged": "unrearranged-{}-yarn",
    "the default, contiguous groups": "contiguous-{}-yarn",
    "the default, each frame encoded alone, repeated 8 times": "alone-{}-yarn",
    "pooled to the tokens of 8 frames, stock positions": "pooled-{}",
}
# what, run, arm, against what, kind of question (None: all)
DIFFERENCES = (
    ("stock, 32 frames over 8", "ropes", "stock-32", "over_baseline", None),
    ("stock, 64 over 32", "ropes", "stock-64", "over_fewer", None),
    ("INTP, 32 over stock 8", "ropes", "intp-32-yarn", "over_baseline", None),
    ("INTP, 64 over 32", "ropes", "intp-64-yarn", "over_fewer", None),
    ("stock over INTP, 32", "frames", "stock-32", "over_intp", None),
    ("stock over INTP, 64", "frames", "stock-64", "over_intp", None),
    ("stock over INTP, 256", "frames", "stock-256", "over_intp", None),
    ("not rearranged over INTP, 32", "parts", "unrearranged-32-yarn", "over_intp", None),
    ("... order questions alone", "parts", "unrearranged-32-yarn", "over_intp", "order"),
    ("contiguous over interleaved groups, 32", "parts", "contiguous-32-yarn", "over_intp", None),
    ("each frame alone over groups, 32", "parts", "alone-32-yarn", "over_intp", None),
    ("... order questions alone", "parts", "alone-32-yarn", "over_intp", "order"),
    ("pooled over INTP, 32", "parts", "pooled-32", "over_intp", None),
    ("pooled over INTP, 64", "parts", "pooled-64", "over_intp", None),
    ("events of 1/64: INTP, 64 over 32", "events_64", "intp-64-yarn", "over_fewer", None),
    ("events of 1/64: INTP, 128 over 64", "events_64", "intp-128-yarn", "over_fewer", None),
)
QUESTIONS = {
    "needle": "what color was the ...",
    "order": "which shape came first, last",
    "count": "how many shapes were there",
    "existence": "was there a ...",
}


def arms_of(run: str) -> dict[str, dict]:
    return {row["arm"]: row for row in load(f"{SMALL_MODEL}/{run}")["arms"]}


def order(row: dict) -> str:
    return f"{100 * row['kinds']['order']['mean']:.1f}"


def with_order(row: dict) -> tuple[str, str]:
    return interval(row["accuracy"]), order(row)


def asked(run: str, videos: str = "videos") -> str:
    found = load(f"{SMALL_MODEL}/{run}")
    return f"{found['questions']} questions about {found['videos']} {videos}"


def guessing(run: str) -> str:
    return f"{100 * load(f'{SMALL_MODEL}/{run}')['guess']['all']:.1f}%"


def summary() -> str:
    """The whole gain, for the first page."""
    runs = arms_of("frames")
    counts = (8, 32, 64, 256)
    rows = [
        (name, *(f"{100 * runs[arm.format(n)]['accuracy']['mean']:.0f}%" for n in counts))
        for name, arm in {"stock": "stock-{}", "INTP": "intp-{}-yarn"}.items()
    ]
    said = f"Right answers to {asked('frames', 'held-out videos')}, on which nothing was tuned:"
    return f"{said}\n\n{table(('', *(f'{n} frames' for n in counts)), rows)}"


def short_clips() -> str:
    row = arms_of("short")["stock-8"]
    questions = row["accuracy"]["questions"]
    return paragraph(
        f"On short clips with the {row['frames']} frames it was trained on it is right in "
        f"{interval(row['accuracy'])}% of {questions} questions."
    )


def baseline(run: str, length: int) -> str:
    """What the frames of the training bring on a long video."""
    few, many = (arms_of(run)[f"stock-{n}"] for n in (8, 64))
    eyes = f"{100 * few['observer']:.1f}% from those, {100 * many['observer']:.0f}% from 64"
    return paragraph(
        f"**Events of 1/{length} of the video**: {asked(run)} of a minute. With 8 frames "
        f"{interval(few['accuracy'])}% are right; perfect eyes would score {eyes}. "
        f"Guessing: {guessing(run)}."
    )


def arms() -> str:
    found = arms_of("ropes") | arms_of("parts")
    rows = [
        (name, *with_order(found[arm.format(32)]), *with_order(found[arm.format(64)]))
        for name, arm in ARMS.items()
    ]
    return table(("", "32 frames", "order alone", "64 frames", "order alone"), rows)


def differences() -> str:
    rows = []
    for name, run, arm, other, kind in DIFFERENCES:
        found = arms_of(run)[arm][other]
        rows.append((name, interval(found["kinds"][kind] if kind else found, "+")))
    return table(("points, paired over the same videos", ""), rows)


def frames() -> str:
    kinds = {"stock": "stock-{}", "`yarn` (default)": "intp-{}-yarn"}
    kinds |= {"`linear`": "intp-{}-linear", '`span="visual"`': "intp-{}-visual"}
    rows = []
    for count in (8, 16, 32, 64, 128, 256):
        found = [arms_of("frames")[arm.format(count)] for arm in kinds.values()]
        cells = [cell for row in found for cell in with_order(row)]
        rows.append((str(count), f"{100 * found[0]['observer']:.1f}", *cells))
    head = "frames", "perfect eyes", *(cell for name in kinds for cell in (name, "order"))
    return table(head, rows)


def windows() -> str:
    rows = []
    for size in (0, 32, 16, 8, 4):
        name = f"intp-{{}}-yarn-w{size}" if size else "intp-{}-yarn"
        found = [arms_of("windows")[name.format(count)] for count in (32, 64, 128)]
        cells = [cell for row in found for cell in with_order(row)]
        rows.append((f"{size} frames" if size else "all", *cells))
    counts = (cell for n in (32, 64, 128) for cell in (f"{n} frames", "order"))
    return table(("each frame sees", *counts), rows)


def short_events() -> str:
    rows = []
    for count in (32, 64, 128):
        stock, ours = (arms_of("events_64")[a] for a in (f"stock-{count}", f"intp-{count}-yarn"))
        observer = f"{100 * stock['observer']:.1f}"
        rows.append((str(count), observer, interval(stock["accuracy"]), interval(ours["accuracy"])))
    return table(("frames", "perfect eyes", "stock", "INTP"), rows)


def kv_bits() -> str:
    rows = []
    for bits in (16, 8, 4, 2):
        cells = []
        for run in ("kv_bits", "kv_bits_64"):
            row = arms_of(run)[f"intp-64-yarn-kv{bits}"]
            over = interval(row["over_unpacked"], "+") if bits < 16 else "-"
            cells += [interval(row["accuracy"]), over]
        rows.append((str(bits), *cells))
    return table(("bits", "right, 1/32", "over 16 bits", "right, 1/64", "over 16 bits"), rows)


def kv_bits_asked() -> str:
    return f"{asked('kv_bits')} for 1/32, {asked('kv_bits_64')} for 1/64"


def kv_accuracy(report: dict) -> str:
    lengths, dims = list(report["about"]["questions"]), list(report["arms"][0]["share_of_16_bits"])
    rows = []
    for arm in report["arms"]:
        found = arm["by_length"]["all"]
        kl = [f"{1000 * found['kl'][name]:.2f}" for name in ("mean", "low", "high")]
        rows.append(
            (
                arm["arm"],
                f"{arm['codes_share']:.3f}",
                *(f"{arm['share_of_16_bits'][dim]:.3f}" for dim in dims),
                *(interval(arm["by_length"][length]["accuracy"]) for length in lengths),
                interval(found["over_16_bits"], "+"),
                f"{100 * found['changed']['mean']:.1f}%",
                f"{kl[0]} [{kl[1]}, {kl[2]}]",
                f"{found['perplexity']:.3f}",
            )
        )
    head = ["keys, values", "bytes, codes alone", *(f"all, D {dim}" for dim in dims)]
    head += [f"right, 1/{length}" for length in lengths]
    return table((*head, "points over 16 bits", "changed", "KL, 0.001 nats", "perplexity"), rows)


def card() -> str:
    """How good the small model is at what it was trained for."""
    row = arms_of("short")["stock-8"]
    mean, low, high = (f"{100 * row['accuracy'][name]:.1f}" for name in ("mean", "low", "high"))
    rows = [("all", f"{mean}%, 95% interval {low} to {high}")]
    for kind, question in QUESTIONS.items():
        rows.append((f"{kind}: {question}", f"{100 * row['kinds'][kind]['mean']:.1f}%"))
    data = f"[data](../../../{SMALL_MODEL}/short.json)"
    what = f"{asked('short', 'held-out videos')} ({data})"
    return f"{table((what, 'right'), rows)}\n\nGuessing is right in {guessing('short')} of them."


def training() -> str:
    """Steps of both stages, and their time."""
    log = ROOT / SMALL_MODEL / "training.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    tower, answers = (
        [line for line in lines if line["stage"] == stage] for stage in ("tower", "answers")
    )
    steps = [max(line["step"] for line in stage) for stage in (tower, answers)]
    seconds = [median(line["seconds"] for line in stage) for stage in (tower, answers)]
    minutes = sum(n * each for n, each in zip(steps, seconds, strict=True)) / 60
    return paragraph(
        f"The tower takes {steps[0]} steps, projector and language model {steps[1]}. At the "
        f"median step, {seconds[0]:.2f} and {seconds[1]:.2f} s, that is {minutes:.0f} minutes of "
        "two CPU cores."
    )


BLOCKS = {
    "answers-by-frames": summary,
    "short-clips": short_clips,
    "events-of-a-32nd": partial(baseline, "frames", 32),
    "events-of-a-64th-baseline": partial(baseline, "events_64", 64),
    "events-of-a-64th": short_events,
    "arms": arms,
    "differences": differences,
    "frames": frames,
    "windows": windows,
    "kv-bits": kv_bits,
    "kv-bits-asked": kv_bits_asked,
    "kv-accuracy": lambda: kv_accuracy(load(f"{SMALL_MODEL}/kv_accuracy")),
    "small-model": card,
    "small-model-training": training,
}
