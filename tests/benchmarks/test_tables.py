"""What the documentation says was measured is what the results say."""

from pathlib import Path

import accuracy_tables
import tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_documented_times_are_those_of_the_results():
    documented = (ROOT / "docs" / "operators.md").read_text()
    for table in tables.tables(RESULTS / "amd-epyc-2core"):
        assert table in documented


def test_documented_figures_of_the_cache_are_those_of_the_results():
    documented = (ROOT / "docs" / "kv_cache.md").read_text()
    for table in tables.kv_tables(RESULTS):
        assert table in documented


def test_documented_accuracy_is_that_of_the_results():
    documented = (ROOT / "docs" / "method.md").read_text()
    runs = accuracy_tables.load(RESULTS / "small-model")
    for make in accuracy_tables.TABLES.values():
        assert "\n".join(make(runs)) in documented
    documented = (ROOT / "docs" / "kv_cache.md").read_text()
    assert "\n".join(accuracy_tables.kv_bits(runs)) in documented
