"""Draws the figure of every benchmark JSON given, from nothing but that JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plot_kv import kv_accuracy_figure, kv_cache_figure, real_model_figure

OURS, EAGER, COMPILED, COPY = "#1f5fbf", "#e07b00", "#2a9d5c", "#777777"
SDPA, CUDNN = "#8250b4", "#b0486a"
# color, line style, marker of every contender
STYLE = {
    "intp_ext": (OURS, "-", "o"),
    "intp_ext, out=": (OURS, "-", "o"),
    "eager": (EAGER, "-", "s"),
    "transformers": (EAGER, "-", "s"),
    "transformers, tables ready": (EAGER, ":", "s"),
    "index_select, out=": (EAGER, "-", "s"),
    "torch.compile": (COMPILED, "-", "^"),
    "torch.compile, tables ready": (COMPILED, ":", "^"),
    "copy": (COPY, "--", None),
    "read": (COPY, ":", None),
    "sdpa flash, causal": (SDPA, "-", "s"),
    "sdpa cudnn, causal": (CUDNN, "-", "P"),
    "sdpa": (SDPA, "--", "v"),
    "sdpa flash": (SDPA, "-", "s"),
    "sdpa cudnn": (CUDNN, "-", "P"),
    "sdpa, mask": (SDPA, "--", "v"),
    "sdpa, chunks": (SDPA, ":", "D"),
    "flex_attention": (COMPILED, "-", "^"),
}
GROUPS = {"intp_ext": "fresh outputs", "intp_ext, out=": "preallocated outputs"}
PLAIN_LAYOUT, OTHER_DIMS = "[H, S, D]", (40, 80)
SWEEP = {"rearrange": "frames", "rope": "tokens", "decode": "tokens"}  # the x axis


def is_variant(case: dict) -> bool:
    """With order, fewer k heads, another head_dim or layout: shown as bars, not in the sweep."""
    other = case.get("layout", PLAIN_LAYOUT) != PLAIN_LAYOUT or case.get("head_dim") in OTHER_DIMS
    return other or case.get("order", False) or case.get("kv_heads") != case.get("heads")


def contenders_of(result: dict, group: str) -> dict[str, dict]:
    """Those of one allocation, ours first."""
    found = {row["name"]: row for row in result["contenders"]}
    return {
        name: row
        for name, row in found.items()
        if name == group or row.get("times_as_long_as", {}).get("name") == group
    }


def names_of(results: Sequence[dict], group: str) -> list[str]:
    """Of contenders that ran in some case; others may have refused it."""
    return list(dict.fromkeys(name for r in results for name in contenders_of(r, group)))


def draw_sweep(axes: Axes, results: Sequence[dict], group: str, x: str) -> None:
    """GB/s over the size; the band spans the quartiles."""
    for name in names_of(results, group):
        color, line, marker = STYLE[name]
        here = [(r, contenders_of(r, group)) for r in results]
        rows = [(r["case"][x], r["bytes"], ran[name]["ms"]) for r, ran in here if name in ran]
        rows.sort(key=lambda row: row[0])
        sizes = [size for size, _, _ in rows]
        rate, low, high = (
            [count / ms[key] / 1e6 for _, count, ms in rows] for key in ("median", "q3", "q1")
        )
        axes.plot(sizes, rate, line, color=color, marker=marker, markersize=4, label=name)
        axes.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
    sizes = sorted(r["case"][x] for r in results)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size // 1024}k" if size >= 1024 else str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_xlabel(x)


def variant_label(case: dict) -> str:
    label = f"{case['heads']}+{case['kv_heads']} heads"
    label += "\nwith order" if case.get("order") else ""
    label += f"\n{case['layout']}" if case.get("layout", PLAIN_LAYOUT) != PLAIN_LAYOUT else ""
    return label + (f"\nD {case['head_dim']}" if case.get("head_dim") in OTHER_DIMS else "")


def draw_variants(axes: Axes, results: Sequence[dict], group: str) -> None:
    """How many times as long as ours each peer takes; whiskers span the quartiles."""
    peers = [name for name in names_of(results, group) if name != group]
    refused = {"times_as_long_as": dict.fromkeys(("median", "q1", "q3"), float("nan"))}
    width = 0.8 / len(peers)
    for number, name in enumerate(peers):
        color, line, _ = STYLE[name]
        rows = [contenders_of(r, group).get(name, refused) for r in results]
        ratios = [row["times_as_long_as"] for row in rows]
        median = [ratio["median"] for ratio in ratios]
        whiskers = [
            [ratio["median"] - ratio["q1"] for ratio in ratios],
            [ratio["q3"] - ratio["median"] for ratio in ratios],
        ]
        places = [i + (number - (len(peers) - 1) / 2) * width for i in range(len(results))]
        axes.bar(
            places, median, width, yerr=whiskers, color=color, alpha=0.5 if line == ":" else 1.0,
            error_kw={"elinewidth": 0.8}, label=name,
        )  # fmt: skip
    axes.axhline(1, color=OURS)
    axes.set_xticks(range(len(results)), [variant_label(r["case"]) for r in results], fontsize=7)
    axes.grid(axis="y", alpha=0.3)


def captions(report: dict) -> tuple[str, str]:
    """Where it was measured, and how to read it."""
    machine = report["machine"]
    if "gpu" in machine:
        where = f"{machine['gpu']['name']}, driver {machine['gpu']['driver']}"
    else:
        cpu = machine["cpu"]
        level = machine["intp_ext"]["cpu_level"]
        where = f"{cpu['model']}, {cpu['cores']} cores, kernels {level}"
    commit = machine["intp_ext"]["commit"] or machine["commit"] or "commit unknown"
    commit = commit[:10] + ("+changes" if "+changes" in commit else "")
    where += f"  ·  torch {machine['torch']}  ·  transformers {machine['transformers']}"
    where += f"  ·  intp_ext {commit}  ·  {machine['time'][:10]}"
    load = f"load {machine['load_at_start']:.1f} to {machine['load_at_end']:.1f}"
    how = "GB/s: input read once and output written once, over the median time from a cold cache"
    return where, f"{how}; bands and whiskers: quartiles; {load}"


def figure_size(columns: int, rows: int) -> tuple[float, float]:
    """In inches; wide enough for the captions."""
    return max(3.4 * columns + 2.2, 9.0), 2.7 * rows + 1.0


def draw_attention(report: dict, path: Path) -> None:
    """Milliseconds over tokens: rows causal and windowed, columns threads and dtype."""
    results = [r for r in report["results"] if not is_attention_variant(r["case"])]
    columns = list(dict.fromkeys((r["threads"], r["case"]["dtype"]) for r in results))
    windows = sorted({r["case"]["window"] for r in results}, key=lambda w: w or 0)
    figure, grid = plt.subplots(
        len(windows), len(columns), squeeze=False, sharey="row", layout="constrained",
        figsize=figure_size(len(columns), len(windows)),
    )  # fmt: skip
    for (row, window), (column, key) in product(enumerate(windows), enumerate(columns)):
        axes = grid[row, column]
        here = [
            r for r in results
            if (r["threads"], r["case"]["dtype"]) == key and r["case"]["window"] == window
        ]  # fmt: skip
        here.sort(key=lambda r: r["case"]["tokens"])
        for name in dict.fromkeys(c["name"] for r in here for c in r["contenders"]):
            points = [
                (r["case"]["tokens"], c["ms"])
                for r in here for c in r["contenders"] if c["name"] == name
            ]  # fmt: skip
            sizes, ms = zip(*points, strict=True)
            color, line, marker = STYLE[name]
            axes.plot(
                sizes, [m["median"] for m in ms], line, color=color, marker=marker, markersize=4,
                label=name,
            )  # fmt: skip
            quartiles = [m["q1"] for m in ms], [m["q3"] for m in ms]
            axes.fill_between(sizes, *quartiles, color=color, alpha=0.15, linewidth=0)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        sizes = [r["case"]["tokens"] for r in here]
        axes.set_xticks(sizes, [f"{n // 1024}k" if n >= 1024 else str(n) for n in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.set_title(f"{key[1]}, {key[0]} thread{'s' * (key[0] > 1)}", fontsize=10)
    for row, window in enumerate(windows):
        seen = f"window {window}" if window else "full causal"
        grid[row, 0].set_ylabel(f"ms, {seen}")
        grid[row, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    where, how = captions(report)
    how = "median time from a cold cache, fresh outputs" + how[how.index(";") :]
    write_figure(figure, report, path, where, how)


def is_attention_variant(case: dict) -> bool:
    """Other heads, head_dim or windows than the sweep's: in the JSON alone."""
    return case["kv_heads"] != case["heads"] or case["head_dim"] == 64 or case["window"] == 512


def draw(report: dict, path: Path) -> None:
    if report["benchmark"] == "attention":
        return draw_attention(report, path)
    if report["benchmark"] == "kv_cache":
        where, how = captions(report)
        how = "median time from a cold cache; read: nothing but that" + how[how.index(";") :]
        return write_figure(kv_cache_figure(report), report, path, where, how)
    if report["benchmark"] == "kv_accuracy":
        return write_figure(kv_accuracy_figure(report), report, path, *about_accuracy(report))
    if report["benchmark"] == "real_model":
        return write_figure(real_model_figure(report), report, path, *about_texts(report))
    x = SWEEP[report["benchmark"]]
    results = report["results"]
    panels = list(dict.fromkeys((r["threads"], r["case"]["dtype"]) for r in results))
    varied = [r["case"]["tokens"] for r in results if is_variant(r["case"])]  # one length, or none
    rows = len(GROUPS) + bool(varied)
    figure, grid = plt.subplots(
        rows, len(panels), figsize=figure_size(len(panels), rows), squeeze=False,
        sharey="row", layout="constrained",
    )  # fmt: skip
    for column, (threads, dtype) in enumerate(panels):
        here = [r for r in results if (r["threads"], r["case"]["dtype"]) == (threads, dtype)]
        plain = [r for r in here if not is_variant(r["case"])]
        unit = f", {threads} thread{'s' * (threads > 1)}" if report["device"] == "cpu" else ""
        grid[0, column].set_title(f"{dtype}{unit}", fontsize=10)
        for row, group in enumerate(GROUPS):
            if plain:
                draw_sweep(grid[row, column], plain, group, x)
        variants = [r for r in here if r["case"].get("tokens") in varied]
        if variants:
            draw_variants(grid[-1, column], variants, next(iter(GROUPS)))
    for row, title in enumerate(GROUPS.values()):
        grid[row, 0].set_ylabel(f"GB/s, {title}")
        grid[row, 0].set_ylim(bottom=0)  # after every panel has stretched the shared axis
        grid[row, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    if varied:
        grid[-1, 0].set_ylabel(f"times as long as ours, {varied[0]} tokens")
        grid[-1, -1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    write_figure(figure, report, path, *captions(report))


def about_accuracy(report: dict) -> tuple[str, str]:
    about = report["about"]
    where = (
        f"{about['model']}, {about['dtype']}, {about['frames']} frames, {about['tokens'][0]} to "
    )
    where += f"{about['tokens'][1]} tokens, head_dim {about['head_dim']}"
    asked = ", ".join(f"{n} on events of 1/{length}" for length, n in about["questions"].items())
    return where, f"questions: {asked}; {about['videos']} videos of each kind"


def about_texts(report: dict) -> tuple[str, str]:
    about = report["about"]
    kinds = ", ".join(dict.fromkeys(text["kind"] for text in about["texts"]))
    where = f"{about['model']} in {about['dtype']}, caches in bfloat16"
    return where, f"{about['scored']} tokens of each of {len(about['texts'])} texts ({kinds})"


def write_figure(figure: Figure, report: dict, path: Path, where: str, how: str) -> None:
    partly = "" if report.get("complete", True) else " (stopped before its end)"
    figure.suptitle(f"{report['benchmark']}{partly}\n", fontsize=13, fontweight="bold")
    figure.text(0.5, 1 - 0.42 / figure.get_figheight(), where, ha="center", fontsize=8)
    figure.supxlabel(how, fontsize=7, color="#555555")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path, nargs="+", help="made by a benchmark's --json")
    parser.add_argument("--format", choices=("png", "svg"), default="png", help="default: png")
    options = parser.parse_args(argv)
    for path in options.json:
        picture = path.with_suffix(f".{options.format}")
        draw(json.loads(path.read_text()), picture)
        print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
