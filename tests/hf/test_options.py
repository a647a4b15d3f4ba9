"""Options: each stands once, is checked once, and is what the operators and the commands take."""

from __future__ import annotations

import argparse
import dataclasses
import inspect

import intp_video
import pytest
from hf.tiny_model import make_model
from intp_video import Options, options
from intp_video.cli.ask import METHOD
from intp_video.cli.model_arguments import add_option_arguments, chosen_options

from intp_ext import kv_cache, reference, rope


def test_choices_are_those_of_the_operators():
    assert options.ROPE_KINDS == rope.ROPE_KINDS
    assert options.GROUPINGS == reference.GROUPINGS
    assert set(options.KV_BITS) == set(kv_cache.BITS)
    assert options.KV_ROTATE == kv_cache.ROTATE


def test_a_handle_has_the_options_it_was_made_with():
    chosen = Options(frames=16, rope="ntk", window=4)
    with intp_video.extend(make_model(), chosen) as one:
        assert one.options is chosen or one.options == chosen
    with intp_video.extend(make_model(), 16, rope="ntk", window=4) as other:
        assert other.options == chosen
    with intp_video.extend(make_model(), chosen, window=None) as changed:
        assert changed.options == dataclasses.replace(chosen, window=None)


@pytest.mark.parametrize("name", ["frames", "factor", "frames_per_group", "cache_argument"])
def test_what_a_handle_says_is_not_set(name):
    with intp_video.extend(make_model()) as handle, pytest.raises(AttributeError):
        setattr(handle, name, 1)


def test_options_are_not_set():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().rope = "none"


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="extend: windows: expected one of frames, rope, "):
        intp_video.extend(make_model(), windows=4)


def test_help_shows_every_option():
    shown = inspect.signature(intp_video.extend).parameters
    assert {field.name for field in dataclasses.fields(Options)} <= set(shown)


def parse(*words):
    parser = argparse.ArgumentParser()
    add_option_arguments(parser, "frames", *METHOD)
    return chosen_options(parser.parse_args(words))


def test_a_command_without_options_takes_the_defaults():
    defaults = dataclasses.asdict(Options())
    assert parse() == {name: defaults[name] for name in METHOD}


def test_a_command_takes_every_option():
    words = (
        "--rope linear --factor 2.5 --span visual --positions after --window 4 --sink 3 "
        "--grouping contiguous --rearrange attention --no-fused --kv-bits 4"
    )
    found = parse(*words.split())
    expected = {"rope": "linear", "factor": 2.5, "span": "visual", "window": 4, "sink": 3}
    expected |= {"positions": "after"}
    expected |= {"grouping": "contiguous", "rearrange": "attention", "fused": False, "kv_bits": 4}
    assert found == expected
    Options(**found)


@pytest.mark.parametrize("size", [(448,), (0, 448), (448.0, 448), (True, True), "448x448", None])
def test_a_size_of_frames_is_checked(size):
    with pytest.raises(ValueError, match="extend: frame_size: expected height and width"):
        intp_video.extend(make_model(), 16, frame_size=size)
