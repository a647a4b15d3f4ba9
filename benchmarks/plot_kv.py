"""Figures of the low-bit cache: time of a decoded token, and what fewer bits cost."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# color, line style, marker
CONTENDERS = {
    "intp_ext 16": ("#0b2f66", "-", "o"),
    "intp_ext 8": ("#1f5fbf", "-", "s"),
    "intp_ext 4": ("#4c93e8", "-", "^"),
    "intp_ext 3": ("#6eabf0", "-", "<"),
    "intp_ext 2.5": ("#81b7f4", "-", ">"),
    "intp_ext 2": ("#93c3f7", "-", "v"),
    "intp_ext 4, on read": ("#4c93e8", ":", "^"),
    "sdpa": ("#8250b4", "--", "v"),
    "eager": ("#e07b00", "-", "s"),
    "QuantizedCache 4": ("#c23b3b", "-", "D"),
    "read": ("#777777", "--", None),
    "read 4 bits": ("#777777", ":", None),
}
WIDTHS = {8: "#0b2f66", 4: "#1f5fbf", 3: "#2a9d5c", 2.5: "#c2a800", 2: "#e07b00"}
BACKENDS = {
    "intp": ("o", "KVCache"),
    "quanto": ("D", "QuantizedCache"),
    "quanto_channel": ("^", "QuantizedCache, keys per channel"),
}
VALUES = {"token": ("#1f5fbf", "o"), "channel": ("#2a9d5c", "D")}  # color, marker


def size_label(tokens: int) -> str:
    return f"{tokens // 1024}k" if tokens >= 1024 else str(tokens)


def kv_cache_figure(report: dict) -> Figure:
    """Milliseconds over keys, a panel for each number of heads; the band spans the quartiles."""
    results = report["results"]
    panels = list(dict.fromkeys((r["case"]["heads"], r["case"]["kv_heads"]) for r in results))
    figure, grid = plt.subplots(
        1, len(panels), figsize=(3.8 * len(panels) + 2.4, 4.6), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes, heads in zip(grid[0], panels, strict=True):
        here = [r for r in results if (r["case"]["heads"], r["case"]["kv_heads"]) == heads]
        draw_times(axes, sorted(here, key=lambda r: r["case"]["tokens"]))
        axes.set_title(f"{heads[0]} query heads over {heads[1]} key heads", fontsize=10)
    grid[0, 0].set_ylabel("ms for one token")
    grid[0, 0].set_yscale("log")
    handles = {
        label: handle
        for axes in grid[0]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    grid[0, -1].legend(
        handles.values(), handles.keys(), fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0),
        frameon=False,
    )  # fmt: skip
    return figure


def draw_times(axes: Axes, results: list[dict]) -> None:
    for name, (color, line, marker) in CONTENDERS.items():
        points = [
            (r["case"]["tokens"], row["ms"])
            for r in results
            for row in r["contenders"]
            if row["name"] == name
        ]
        if not points:
            continue
        sizes = [size for size, _ in points]
        low, middle, high = ([ms[key] for _, ms in points] for key in ("q1", "median", "q3"))
        axes.plot(sizes, middle, line, color=color, marker=marker, markersize=4, label=name)
        axes.fill_between(sizes, low, high, color=color, alpha=0.15, linewidth=0)
    sizes = [r["case"]["tokens"] for r in results]
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [size_label(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_xlabel("keys in the cache")


def kv_accuracy_figure(report: dict) -> Figure:
    """Over the bytes of a token: right answers, and the divergence of probabilities."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    dim = list(report["arms"][0]["share_of_16_bits"])[-1]
    for arm in report["arms"]:
        share, found = arm["share_of_16_bits"][dim], arm["by_length"]["all"]
        color, marker = VALUES[arm["values"]]
        hollow = {"markerfacecolor": "white"} if arm["simulated"] else {}
        accuracy = found["accuracy"]
        ends = [
            [100 * (accuracy["mean"] - accuracy["low"])],
            [100 * (accuracy["high"] - accuracy["mean"])],
        ]
        left.errorbar(
            share, 100 * accuracy["mean"], yerr=ends, color=color, marker=marker, markersize=5,
            linewidth=0.8, **hollow,
        )  # fmt: skip
        kl = 1000 * found["kl"]["mean"]
        if kl > 0:  # of 16 bits it is nothing
            above = 1000 * found["kl"]["high"] - kl
            right.errorbar(
                share, kl, yerr=[[0], [above]], color=color, marker=marker, markersize=5,
                linewidth=0.8, **hollow,
            )  # fmt: skip
    defaults = [
        (arm["share_of_16_bits"][dim], arm["by_length"]["all"], arm["arm"])
        for arm in report["arms"]
        if not arm["simulated"] and arm["rotate"] == "on_write"
    ]
    for share, found, name in defaults:
        left.annotate(
            name, (share, 100 * found["accuracy"]["mean"]), fontsize=8,
            textcoords="offset points", xytext=(5, 5),
        )  # fmt: skip
        if found["kl"]["mean"] > 0:
            right.annotate(
                name, (share, 1000 * found["kl"]["mean"]), fontsize=8,
                textcoords="offset points", xytext=(6, 4),
            )  # fmt: skip
    left.set_ylabel("right answers, %, with 95% intervals")
    right.set_ylabel("KL from 16 bits, 0.001 nats (up: 95% bound)")
    right.set_yscale("log")
    for axes in (left, right):
        axes.set_xlabel(f"bytes of a token over those of 16 bits, everything counted, D = {dim}")
        axes.set_xlim(0, 1.12)
        axes.grid(alpha=0.3)
    for values, (color, marker) in VALUES.items():
        right.plot([], [], marker, color=color, label=f"values per {values}")
    right.plot([], [], "o", color="#555555", markerfacecolor="white", label="hollow: simulated")
    right.legend(fontsize=8, frameon=False)
    return figure


def real_model_figure(report: dict) -> Figure:
    """Over the bytes of a token, a panel for each length: perplexity over that of 16 bits."""
    packed = [row for row in report["summary"] if row["scheme"]["bits"] != 16]
    lengths = sorted({row["tokens"] for row in packed})
    figure, grid = plt.subplots(
        1, len(lengths), figsize=(5.2 * len(lengths) + 1.6, 4.6), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes, tokens in zip(grid[0], lengths, strict=True):
        for row in (row for row in packed if row["tokens"] == tokens):
            draw_cost(axes, row)
        axes.axhline(0, color="#777777", linewidth=0.8)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_title(f"{size_label(tokens)} tokens", fontsize=10)
        axes.set_xlabel("bytes over those of 16 bits, everything counted")
        axes.grid(alpha=0.3)
    grid[0, 0].set_ylabel("perplexity over that of 16 bits, %, with 95% intervals")
    for bits, color in WIDTHS.items():
        grid[0, -1].plot([], [], "o", color=color, label=f"{bits} bits")
    for marker, label in BACKENDS.values():
        grid[0, -1].plot([], [], marker, color="#555555", label=label)
    grid[0, -1].plot(
        [], [], "o", color="#555555", markerfacecolor="white", label="full layers alone"
    )
    grid[0, -1].legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def draw_cost(axes: Axes, row: dict) -> None:
    scheme, found = row["scheme"], {k: 100 * v for k, v in row["increase"].items()}
    hollow = {"markerfacecolor": "white"} if scheme["layers"] == "full" else {}
    axes.errorbar(
        row["share_of_16_bits"], found["mean"],
        yerr=[[found["mean"] - found["low"]], [found["high"] - found["mean"]]],
        color=WIDTHS[scheme["bits"]], marker=BACKENDS[scheme["backend"]][0], markersize=5,
        linewidth=0.8, **hollow,
    )  # fmt: skip
