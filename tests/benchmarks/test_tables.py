"""What the documentation says was measured is what the results say."""

from pathlib import Path

import tables

ROOT = Path(__file__).parents[2]


def test_documented_figures_are_those_of_the_results():
    documented = (ROOT / "docs" / "operators.md").read_text()
    assert tables.tables(ROOT / "benchmarks" / "results" / "amd-epyc-2core") in documented
