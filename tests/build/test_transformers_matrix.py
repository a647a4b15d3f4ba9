"""The ends of what is supported are those of what was run, and nothing failed there."""

from __future__ import annotations

import json

import transformers_matrix
from intp_video import compat


def test_the_supported_releases_are_those_that_were_run():
    rows = json.loads(transformers_matrix.RESULTS.read_text())
    assert list(rows) == transformers_matrix.in_order(rows)
    tested = list(rows)
    assert (tested[0], tested[-1]) == (compat.OLDEST, compat.NEWEST_TESTED)
    assert not any(row["failed"] for row in rows.values())
