"""What the documentation says of transformers releases is what was run."""

from __future__ import annotations

import json
from pathlib import Path

import transformers_matrix
from intp_video import compat

ROOT = Path(__file__).parents[2]


def test_the_documented_table_is_that_of_the_results():
    rows = json.loads(transformers_matrix.RESULTS.read_text())
    assert "\n".join(transformers_matrix.table(rows)) in transformers_matrix.DOCUMENT.read_text()
    tested = transformers_matrix.in_order(rows)
    assert (tested[0], tested[-1]) == (compat.OLDEST, compat.NEWEST_TESTED)
    assert not any(row["failed"] for row in rows.values())
    for page in ("README.md", "CHANGELOG.md"):
        assert f"{compat.OLDEST} to {compat.NEWEST_TESTED}" in (ROOT / page).read_text()
