"""Killed in the middle and started again: the small version of tests/batch/killed.py."""

from batch.killed import run_killed


def test_a_run_that_is_killed_twice_ends_complete(tmp_path):
    counts, _ = run_killed(tmp_path, videos=12, damaged=3)
    assert counts == {"rows": 12, "errors": 3}
