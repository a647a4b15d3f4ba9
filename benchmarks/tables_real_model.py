"""What fewer bits cost a trained decoder, for the pages."""

from __future__ import annotations

from tables_common import REAL_MODEL, load, paragraph, table

COSTS = f"{REAL_MODEL}/perplexity"


def per_cent(found: dict[str, float]) -> str:
    if found["low"] > 9:
        return f"{1 + found['mean']:.0f} times as large"
    mean, low, high = (f"{100 * found[name]:+.1f}" for name in ("mean", "low", "high"))
    return f"{mean}% [{low}, {high}]"


def place(row: dict) -> tuple:
    """Ours before the peer, wide before narrow, then as options are added."""
    scheme = row["scheme"]
    order = ("layers", "recent", "sink", "key_group", "value_group", "window_sink")
    others = tuple(scheme[name] for name in order)
    return row["tokens"], scheme["backend"], -scheme["bits"], scheme["window"] or 0, *others


def costs() -> str:
    """A line for every length and scheme; the tokens written alike where some were written."""
    rows = sorted(load(COSTS)["summary"], key=place)
    lengths = len({row["tokens"] for row in rows}) > 1
    written = any(row["alike"] for row in rows)
    head = ["tokens"] * lengths
    head += ["keys and values", "bytes", "perplexity", "over 16 bits", "KL, nats", "same likeliest"]
    head += ["written alike"] * written
    lines = []
    for row in rows:
        alike = row["alike"]
        line = [str(row["tokens"])] * lengths
        line += [
            row["name"],
            f"{row['share_of_16_bits']:.3f}",
            f"{row['perplexity']:.2f}",
            per_cent(row["increase"]),
            f"{row['kl']['mean']:.4f}",
            f"{100 * row['same']['mean']:.1f}%",
        ]
        line += [f"{sum(alike) / len(alike):.0f}" if alike else ""] * written
        lines.append(line)
    return table(head, lines)


def texts() -> str:
    """What was read, and where it is installed."""
    about = load(COSTS)["about"]
    read = "; ".join(f"{text['source']} ({text['kind']})" for text in about["texts"])
    return paragraph(
        f"The texts: {read}. The last {about['scored']} tokens of each are scored, with weights "
        f"and states in {about['dtype']}."
    )


BLOCKS = {"real-model-costs": costs, "real-model-texts": texts}
