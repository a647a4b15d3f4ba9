"""The ends of what is supported are those of what was run, and nothing failed there."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import transformers_matrix
from intp_video import compat
from intp_video.models import FAMILIES


def test_the_supported_releases_are_those_that_were_run():
    rows = json.loads(transformers_matrix.RESULTS.read_text())
    assert list(rows) == transformers_matrix.in_order(rows)
    tested = list(rows)
    assert (tested[0], tested[-1]) == (compat.OLDEST, compat.NEWEST_TESTED)
    assert not any(map(transformers_matrix.failures, rows.values()))
    assert {name for row in rows.values() for name in row.get("families", {})} <= {*FAMILIES}


def test_tests_are_counted_by_family():
    report = ElementTree.ElementTree(
        ElementTree.fromstring(
            """<testsuites><testsuite>
            <testcase classname="tests.hf.test_families" name="test_window[None-1-internvl]"/>
            <testcase classname="tests.hf.test_families" name="test_window[2-1-internvl]">
              <failure/></testcase>
            <testcase classname="tests.hf.test_families" name="test_window[None-1-qwen2_vl]">
              <skipped message="no such model"/></testcase>
            <testcase classname="tests.hf.test_families" name="test_every_family_is_tested"/>
            <testcase classname="tests.hf.test_processing" name="test_inputs[internvl]"/>
            </testsuite></testsuites>"""
        )
    )
    found = transformers_matrix.by_family(report)
    rest = transformers_matrix.counts(report)
    assert list(found) == ["internvl", "qwen2_vl"]
    assert found["internvl"]["passed"] == 1
    assert found["internvl"]["failed"] == ["tests/hf/test_families.py::test_window[2-1-internvl]"]
    assert found["qwen2_vl"]["skipped"] == {"no such model": 1}
    assert (rest["passed"], rest["failed"], rest["skipped"]) == (2, [], {})
    assert transformers_matrix.failures({**rest, "families": found}) == found["internvl"]["failed"]
