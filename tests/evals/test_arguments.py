"""Arguments of a harness have the types of the options, however they are written."""

import dataclasses

import pytest
from intp_video.evals.arguments import NAMES, typed
from intp_video.options import Options


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("frames", "64", 64),
        ("frames", 64, 64),
        ("frames", 64.0, 64),
        ("rope", "none", "none"),
        ("factor", "4", 4),
        ("factor", 2.5, 2.5),
        ("factor", "None", None),
        ("window", "16", 16),
        ("window", "None", None),
        ("sink", 0, 0),
        ("fused", False, False),
        ("fused", "false", False),
        ("fused", " True ", True),
        ("kv_bits", "2.5", 2.5),
        ("kv_bits", 2.5, 2.5),
        ("kv_bits", "4", 4),
        ("kv_bits", 4.0, 4),
        ("device", "cuda:1", "cuda:1"),
        ("device", "None", None),
        ("fps", "2", 2),
        ("fps", 0.5, 0.5),
        ("fps", "None", None),
        ("load_in", "8bit", "8bit"),
        ("dtype", "bfloat16", "bfloat16"),
        ("bad_videos", "wrong", "wrong"),
    ],
)
def test_types(name, written, meant):
    found = typed({name: written})[name]
    assert found == meant and type(found) is type(meant)


def test_every_option_can_be_given_as_a_string():
    for field in dataclasses.fields(Options):
        choices = field.metadata["choices"] or (field.default,)
        for value in choices:
            assert typed({field.name: str(value)}) == {field.name: value}
    written = {f.name: str(f.default) for f in dataclasses.fields(Options)}
    assert Options(**typed(written)) == Options()


def test_what_a_task_decides_is_no_argument():
    assert not {"model", "folder", "max_new_tokens", "options"} & {*NAMES}


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"max_num_frames": 8}, TypeError, "max_num_frames: expected one of backend, bad_videos"),
        ({"frames": "many"}, ValueError, "frames: expected a number, got 'many'"),
        ({"window": True}, ValueError, "window: expected a number, got True"),
        ({"frames": "None"}, ValueError, "frames: expected a number, got 'None'"),
        ({"fused": "no"}, ValueError, "fused: expected true or false, got 'no'"),
    ],
)
def test_what_is_wrong_is_named(given, error, told):
    with pytest.raises(error, match=told):
        typed(given)
