"""Tables of families and options say what was run, and mark what was not."""

from __future__ import annotations

import dataclasses

import pytest
import tables_models
from intp_video.options import Options

RUN = {"passed": 24, "failed": [], "skipped": {}}
ABSENT = {"passed": 0, "failed": [], "skipped": {"transformers 4.57.6 has no internvl": 24}}


@pytest.fixture
def tested(monkeypatch):
    """Replaces what is recorded of a family, by release."""

    def set_to(**by_release):
        rows = {
            release: {} if counts is None else {"families": {"internvl": counts}}
            for release, counts in by_release.items()
        }
        monkeypatch.setattr(tables_models, "load", lambda name: rows)

    return set_to


@pytest.mark.parametrize(
    ("first", "second", "oldest"),
    [
        (RUN, RUN, "first"),
        (ABSENT, RUN, "second"),
        (None, RUN, "second, or earlier (not run)"),
        (None, None, "not run"),
        (ABSENT, None, "not run"),
    ],
)
def test_oldest_release(tested, first, second, oldest):
    tested(first=first, second=second)
    assert tables_models.oldest("internvl") == oldest


@pytest.mark.parametrize(
    ("counts", "cell"),
    [
        (RUN, "24"),
        (None, "not run"),
        (ABSENT, "no such model"),
        ({**RUN, "skipped": {"x": 2}}, "24, 2 skipped"),
        ({**RUN, "failed": ["a", "b"]}, "**2 failed**"),
    ],
)
def test_what_was_tested(tested, counts, cell):
    tested(first=counts)
    assert f"| `internvl` | {cell} |" in tables_models.family_tests()
    assert "| `qwen2_vl` | not run |" in tables_models.family_tests()


def test_reasons_are_counted_without_their_details(tested):
    tested(first={**RUN, "skipped": {"it cannot: 3": 1, "it cannot: 4": 2}}, second=ABSENT)
    assert tables_models.family_skips() == "it cannot (3)"


def test_every_option_is_told():
    rows = tables_models.options().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [f.name for f in dataclasses.fields(Options)]
    assert all(len(row.rsplit("|", 2)[1].split()) > 5 for row in rows)
    assert "``" not in "".join(rows) and ":func:" not in "".join(rows)
