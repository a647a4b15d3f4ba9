"""What the package gains, in one table, for the first page."""

from __future__ import annotations

from tables_accuracy import arms_of
from tables_common import SMALL_MODEL, ZEN5, load, table


def gains() -> str:
    """Right answers, the seconds of a long question, and the bytes of its cache."""
    right = {name: 100 * row["accuracy"]["mean"] for name, row in arms_of("frames").items()}
    asked = max(load(f"{ZEN5}/ask")["results"], key=lambda result: result["frames"])
    seconds = {name: row["median_s"] for name, row in asked["arms"].items()}
    frames = asked["frames"]
    packed = {row["arm"]: row for row in load(f"{SMALL_MODEL}/kv_accuracy")["arms"]}

    def token(arm: str) -> str:
        return f"{1000 * seconds[arm]['token']:.0f} ms"

    def prefill(arm: str) -> str:
        return f"{seconds[arm]['prefill']:.0f} s"

    rows = [
        (
            f"right answers with {count} frames, "
            "[small trained model](docs/method.md#what-it-brings)",
            f"{right[f'stock-{count}']:.0f}%",
            f"{right[f'intp-{count}-yarn']:.0f}%",
        )
        for count in (8, 32, 256)
    ]
    rows += [
        (
            f"[a token](benchmarks/README.md) of an answer about {frames} frames: "
            "100 M random weights in float32, 2 cores of a Zen 5",
            token("stock sdpa"),
            f"**{token('intp_ext')}**, {token('intp_ext, 4 bits')} with `kv_bits=4`",
        ),
        (
            f"prefill of these {frames} frames",
            prefill("stock sdpa"),
            f"**{prefill('intp_ext')}**, {prefill('intp_ext, window')} with `window=8`",
        ),
        (
            "[memory](docs/kv_cache.md) of a cached token",
            "1 x",
            f"1 x, **{packed['4 bits']['share_of_16_bits']['128']:.2f} x** with `kv_bits=4`",
        ),
    ]
    return "\n" + table(("", "not extended", "extended"), rows) + "\n"


BLOCKS = {"gains": gains}
