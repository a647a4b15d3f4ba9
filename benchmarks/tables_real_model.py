"""What fewer bits cost a trained decoder, for the pages."""

from __future__ import annotations

from collections.abc import Sequence

from tables_common import REAL_MODEL, load, paragraph, table


def rows_of(tokens: int) -> list[dict]:
    return [row for row in load(f"{REAL_MODEL}/perplexity")["summary"] if row["tokens"] == tokens]


def per_cent(found: dict[str, float]) -> str:
    return "{:+.2f}% [{:+.2f}, {:+.2f}]".format(
        *(100 * found[name] for name in ("mean", "low", "high"))
    )


def costs(rows: Sequence[dict]) -> str:
    """A line a scheme."""
    lines = [
        (
            row["name"],
            f"{row['share_of_16_bits']:.3f}",
            f"{row['perplexity']:.2f}",
            per_cent(row["increase"]),
            f"{row['kl']['mean']:.4f}",
            f"{100 * row['same']['mean']:.1f}%",
        )
        for row in rows
    ]
    head = ("keys and values", "bytes", "perplexity", "over 16 bits", "KL, nats", "same likeliest")
    return table(head, lines)


def texts() -> str:
    """What was read, and where it comes from."""
    about = load(f"{REAL_MODEL}/perplexity")["about"]
    read = "; ".join(f"{x['source']} ({x['kind']})" for x in about["texts"])
    return paragraph(f"{read}. {about['scored']} tokens of each are scored.")


BLOCKS = {
    "real-model-costs": lambda: costs(rows_of(2048)),
    "real-model-texts": texts,
}
