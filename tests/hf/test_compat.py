"""Which transformers is installed, tested and said to be so; what is looked up by its signature."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import intp_video
import pytest
import torch
from hf.tiny_model import make_inputs, make_model
from intp_video import compat


@pytest.mark.parametrize(
    ("version", "untested"),
    [
        (compat.OLDEST, False),
        (compat.NEWEST_TESTED, False),
        (f"{compat.NEWEST_TESTED}rc1", False),
        ("99.0.0", True),
        ("99.0.0.dev0", True),
    ],
)
def test_a_version_beyond_the_tested_ones_is_named(version, untested):
    note = compat.untested_note(version)
    assert (note is not None) == untested
    if untested:
        assert version in note and compat.NEWEST_TESTED in note


def test_the_tests_that_differences_name_are_there():
    tests = Path(__file__).parent
    named = re.findall(r"\btest_\w+(?:\.py)?", inspect.getsource(compat))
    written = "".join(path.read_text() for path in tests.glob("test_*.py"))
    assert len(named) > 8
    for name in named:
        assert (tests / name).is_file() if name.endswith(".py") else f"def {name}(" in written, name


def test_extend_names_it_once(monkeypatch, caplog):
    monkeypatch.setattr(compat, "transformers_version", lambda: "99.0.0")
    compat.note_untested.cache_clear()
    model = make_model()
    with caplog.at_level(logging.WARNING, "intp_video"):
        for _ in range(2):
            intp_video.extend(model).restore()
    compat.note_untested.cache_clear()
    assert caplog.text.count("transformers 99.0.0, newer than the newest that is tested") == 1


@pytest.mark.parametrize(
    ("forward", "name"),
    [
        (lambda input_ids, cache=None: None, "cache"),
        (lambda input_ids, past_key_values=None: None, "past_key_values"),
        (lambda input_ids, **kwargs: None, None),
    ],
)
def test_the_name_of_the_cache(forward, name):
    assert compat.cache_argument(forward) == name


def test_the_new_name_wins_unless_it_is_empty():
    arguments = {"past_key_values": 1, "cache": None, "input_ids": 2}
    assert compat.take_cache(arguments) == 1 and arguments == {"input_ids": 2}
    assert compat.take_cache({"past_key_values": 1, "cache": 3}) == 3
    assert compat.take_cache({}) is None


def test_the_cache_in_an_output_and_in_a_tuple():
    model = make_model()
    with torch.no_grad():
        output = model(**make_inputs(8))
        as_tuple = model(**make_inputs(8), return_dict=False)
    assert compat.cache_of(output).get_seq_length() == compat.cache_of(as_tuple).get_seq_length()
    assert compat.cache_of((1, 2)) is None and compat.cache_of({}) is None


@pytest.mark.parametrize(("tokens", "length"), [(-2, 3), (3, 3), (0, 5), (-9, 0), (9, 5)])
def test_crop(tokens, length):
    assert compat.length_after_crop(tokens, 5) == length
