"""The published costs of fewer bits on a trained decoder are whole, and say what the page says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import tables_real_model
from intp_video.lab.real_model.records import summarize
from intp_video.lab.real_model.schemes import Scheme

REPORT = json.loads(
    (Path(__file__).parents[2] / "benchmarks/results/real-model/perplexity.json").read_text()
)
ROWS = {(row["tokens"], row["name"]): row for row in REPORT["summary"]}


def test_every_scheme_has_read_every_text_of_its_length():
    for tokens in {row["tokens"] for row in REPORT["summary"]}:
        read = [set(row["texts"]) for (length, _), row in ROWS.items() if length == tokens]
        assert read and all(texts == read[0] for texts in read)


def test_the_summary_is_that_of_the_records():
    shares = {row["name"]: row["share_of_16_bits"] for row in REPORT["summary"]}
    found = summarize(REPORT["records"], lambda scheme: shares[scheme.name])
    assert found == REPORT["summary"]


def test_16_bits_in_other_chunks_differ_by_rounding():
    control = Scheme(key_group=128).name
    assert all(
        abs(row["increase"]["mean"]) < 2e-3 and row["kl"]["mean"] < 2e-3
        for (_, name), row in ROWS.items()
        if name == control
    )


def test_lengths_and_what_was_written_have_columns_where_there_are_any(monkeypatch):
    estimate = {"mean": 0.5, "low": 0.25, "high": 0.75}
    row = {"tokens": 64, "name": "4 bits", "share_of_16_bits": 0.3, "perplexity": 2.0}
    row |= {"increase": estimate, "kl": estimate, "same": estimate, "alike": []}
    row |= {"scheme": asdict(Scheme(4))}

    def lines(*rows):
        monkeypatch.setattr(tables_real_model, "load", lambda name: {"summary": rows})
        return tables_real_model.costs().splitlines()

    cells = "| 4 bits | 0.300 | 2.00 | +50.0% [+25.0, +75.0] | 0.5000 | 50.0% |"
    assert lines(row)[2:] == [cells]
    longer = {**row, "tokens": 128, "alike": [7, 10]}
    assert lines(longer, row)[2:] == [f"| 64 {cells}  |", f"| 128 {cells} 8 |"]
