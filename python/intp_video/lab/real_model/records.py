"""Results, kept as they come; and what they say together."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...records.files import write_whole
from ..evaluation.statistics import average
from .schemes import Scheme

Record = dict[str, Any]
SAME = ("model", "dtype", "scored", "cpu_level", "torch", "transformers")  # of all records


class Records:
    """A report in a JSON file that is whole after every record; without a path, in memory alone.

    Raises:
        ValueError: there is a file, and it is of another model, other software or other texts.
    """

    def __init__(self, path: Path | None, about: Record) -> None:
        self.path = path
        self.report: dict[str, Any] = {"benchmark": "real_model", "about": about, "records": []}
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            for name in SAME:
                if kept["about"][name] != about[name]:
                    raise ValueError(f"{path}: it has results of another {name}: move it away")
            old, new = ({x["name"]: x for x in y["texts"]} for y in (kept["about"], about))
            for name in old.keys() & new.keys():
                if old[name] != new[name]:
                    raise ValueError(f"{path}: the text {name!r} is another one now: move it away")
            about["texts"] = list({**old, **new}.values())
            about["commands"] = list(dict.fromkeys(kept["about"]["commands"] + about["commands"]))
            self.report["records"] = kept["records"]

    def has(self, scheme: Scheme, **keys: Any) -> bool:
        return any(
            Scheme(**x["scheme"]) == scheme and all(x.get(k) == v for k, v in keys.items())
            for x in self.report["records"]
        )

    def add(self, record: Record) -> None:
        self.report["records"].append(record)
        self.write()

    def summarize(self, share: Callable[[Scheme], float]) -> None:
        """Add ``summary`` to the report, see :func:`summarize`."""
        read, about = {record["text"] for record in self.report["records"]}, self.report["about"]
        about["texts"] = [text for text in about["texts"] if text["name"] in read]
        self.report["summary"] = summarize(self.report["records"], share)
        self.write()

    def write(self) -> None:
        if self.path is None:
            return
        write_whole(self.path, json.dumps(self.report, indent=1) + "\n")


def summarize(records: Sequence[Record], share: Callable[[Scheme], float]) -> list[Record]:
    """A row for every length and scheme, over the texts that it has read there.

    Args:
        records: of what was read, in any order.
        share: of a scheme, its bytes over those of 16 bits.
    """
    rows = []
    for tokens in sorted({record["tokens"] for record in records}):
        here = [record for record in records if record["tokens"] == tokens]
        for scheme in dict.fromkeys(Scheme(**record["scheme"]) for record in here):
            of_scheme = [record for record in here if Scheme(**record["scheme"]) == scheme]
            rows.append(
                {
                    "tokens": tokens,
                    "name": scheme.name,
                    "scheme": asdict(scheme),
                    "share_of_16_bits": share(scheme),
                    "texts": [record["text"] for record in of_scheme],
                    **together(of_scheme),
                    "alike": [record["alike"] for record in of_scheme if "alike" in record],
                }
            )
    return rows


def together(records: Sequence[Record]) -> Record:
    """Over all texts: perplexity, how much it is above that of 16 bits (0.01: a hundredth more),
    KL in nats, and how often the likeliest token is the same, with 95% intervals over blocks."""

    def estimate(name: str, least: float, most: float) -> Any:
        # a block is a cluster of one: neighbors are in it together
        blocks = {
            f"{record['text']} {i}": [value]
            for record in records
            for i, value in enumerate(record[name])
        }
        return average(blocks, least, most)

    nll, more = estimate("nll", 0.0, math.inf), estimate("more", -math.inf, math.inf)
    kl, same = estimate("kl", 0.0, math.inf), estimate("same", 0.0, 1.0)
    return {
        "perplexity": math.exp(nll.mean),
        "increase": {x: math.expm1(getattr(more, x)) for x in ("mean", "low", "high")},
        "kl": {x: getattr(kl, x) for x in ("mean", "low", "high")},
        "same": {x: getattr(same, x) for x in ("mean", "low", "high")},
    }
