"""The tables of docs/method.md, and one of docs/kv_cache.md, from the results:
python benchmarks/accuracy_tables.py FOLDER."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

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


def load(folder: Path) -> dict[str, dict[str, dict]]:
    """Run, then arm."""
    return {
        path.stem: {row["arm"]: row for row in json.loads(path.read_text())["arms"]}
        for path in folder.glob("*.json")
    }


def interval(found: dict, sign: str = "") -> str:
    mean, low, high = (f"{100 * found[name]:{sign}.1f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def order(row: dict) -> str:
    return f"{100 * row['kinds']['order']['mean']:.1f}"


def table(*rows: tuple[str, ...]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield f"| {' | '.join(row)} |"
        if number == 0:
            yield "| " + " | ".join(["---"] * len(row)) + " |"


def arms(runs: dict) -> Iterator[str]:
    found = runs["ropes"] | runs["parts"]
    rows = [("", "32 frames", "order alone", "64 frames", "order alone")]
    for name, arm in ARMS.items():
        few, many = found[arm.format(32)], found[arm.format(64)]
        rows.append(
            (name, interval(few["accuracy"]), order(few), interval(many["accuracy"]), order(many))
        )
    return table(*rows)


def differences(runs: dict) -> Iterator[str]:
    rows = [("points, paired over the same videos", "")]
    for name, run, arm, other, kind in DIFFERENCES:
        found = runs[run][arm][other]
        rows.append((name, interval(found["kinds"][kind] if kind else found, "+")))
    return table(*rows)


def frames(runs: dict) -> Iterator[str]:
    kinds = {"stock": "stock-{}", "`yarn` (default)": "intp-{}-yarn"}
    kinds |= {"`linear`": "intp-{}-linear", '`span="visual"`': "intp-{}-visual"}
    rows = [("frames", "perfect eyes", *(c for name in kinds for c in (name, "order")))]
    for count in (8, 16, 32, 64, 128, 256):
        found = [runs["frames"][arm.format(count)] for arm in kinds.values()]
        cells = [cell for row in found for cell in (interval(row["accuracy"]), order(row))]
        rows.append((str(count), f"{100 * found[0]['observer']:.1f}", *cells))
    return table(*rows)


def windows(runs: dict) -> Iterator[str]:
    rows = [("each frame sees", *(c for n in (32, 64, 128) for c in (f"{n} frames", "order")))]
    for size in (0, 32, 16, 8, 4):
        name = f"intp-{{}}-yarn-w{size}" if size else "intp-{}-yarn"
        found = [runs["windows"][name.format(count)] for count in (32, 64, 128)]
        cells = [cell for row in found for cell in (interval(row["accuracy"]), order(row))]
        rows.append((f"{size} frames" if size else "all", *cells))
    return table(*rows)


def short_events(runs: dict) -> Iterator[str]:
    rows = [("frames", "perfect eyes", "stock", "INTP")]
    for count in (32, 64, 128):
        stock, ours = (runs["events_64"][a] for a in (f"stock-{count}", f"intp-{count}-yarn"))
        observer = f"{100 * stock['observer']:.1f}"
        rows.append((str(count), observer, interval(stock["accuracy"]), interval(ours["accuracy"])))
    return table(*rows)


def kv_bits(runs: dict) -> Iterator[str]:
    rows = [("bits", "right, 1/32", "over 16 bits", "right, 1/64", "over 16 bits")]
    for bits in (16, 8, 4, 2):
        cells = []
        for run in ("kv_bits", "kv_bits_64"):
            row = runs[run][f"intp-64-yarn-kv{bits}"]
            over = interval(row["over_unpacked"], "+") if bits < 16 else "-"
            cells += [interval(row["accuracy"]), over]
        rows.append((str(bits), *cells))
    return table(*rows)


TABLES = {
    "arms": arms,
    "differences": differences,
    "frames": frames,
    "windows": windows,
    "short_events": short_events,
}


def main() -> None:
    runs = load(Path(sys.argv[1]))
    for make in (*TABLES.values(), kv_bits):
        print("\n".join(make(runs)), end="\n\n")
    for run in ("short", "ropes", "events_64"):
        print(run, "8 frames:", interval(runs[run]["stock-8"]["accuracy"]))
        print({kind: interval(found) for kind, found in runs[run]["stock-8"]["kinds"].items()})


if __name__ == "__main__":
    main()
