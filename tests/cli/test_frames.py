"""``intp-video frames``: the picture, what is said, and every way to ask for nonsense."""

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from intp_video.contact_sheet import contact_sheet
from intp_video.grouping import encoder_order
from intp_video.lab.random_model import make_random_model
from intp_video.processing.frame_processor import FrameProcessor
from intp_video.sampling import sample_indices
from intp_video.video import read_video
from PIL import Image
from video.make_videos import write_audio, write_video


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny")


def test_it_draws_a_picture(cli, video, tmp_path):
    outcome = cli("frames", video, "--frames", 16)
    assert outcome.code == 0
    assert outcome.out == "numbers.frames.png\n"
    with Image.open(tmp_path / "numbers.frames.png") as image:
        assert image.format == "PNG" and image.width > 1000
    for stage in ("decode", "draw", "write", "total"):
        assert f"  {stage}" in outcome.err


def test_quiet_means_quiet(cli, video):
    assert cli("frames", video, "--frames", 8, "--quiet").err == ""


def test_json_says_where_each_frame_stands(cli, video):
    result = json.loads(cli("frames", video, "--frames", 16, "--json").out)
    assert result["groups"] == 2 and result["frames_per_group"] == 8
    assert [frame["group"] for frame in result["frames"]] == [0, 1] * 8
    assert [frame["place_in_group"] for frame in result["frames"]] == [i // 2 for i in range(16)]
    assert [frame["index"] for frame in result["frames"]] == [
        (2 * i + 1) * 40 // 32 for i in range(16)
    ]
    assert result["frames"][3]["seconds"] == pytest.approx(result["frames"][3]["index"] / 10)
    assert result["notes"] == []


def test_frames_are_rounded_up_to_whole_groups(cli, video):
    outcome = cli("frames", video, "--frames", 13, "--json")
    result = json.loads(outcome.out)
    assert len(result["frames"]) == 16
    assert [frame["index"] for frame in result["frames"]] == sample_indices(40, 16).tolist()
    assert "13 frames do not fill groups of 8: rounded up to 16" in outcome.err


@pytest.mark.parametrize("frames", [5, 13, 16])
def test_the_sheet_has_the_frames_that_ask_shows(cli, video, model_dir, monkeypatch, frames):
    """Also of a model whose crop is not that of Video-LLaVA."""
    from intp_video.preparation import Preparer

    asked, prepare = [], Preparer.__call__
    monkeypatch.setattr(
        Preparer, "__call__", lambda self, clip, *q: asked.append(clip) or prepare(self, clip, *q)
    )
    options = ["--model", model_dir, "--frames", frames]
    assert cli("ask", video, "What?", *options, "--max-new-tokens", 1).code == 0
    result = json.loads(cli("frames", video, *options, "--json").out)
    assert [frame["index"] for frame in result["frames"]] == asked[0].indices.tolist()
    assert [frame["seconds"] for frame in result["frames"]] == pytest.approx(asked[0].timestamps)


def test_the_crop_is_told(cli, video, model_dir):
    """128x64 pixels; Video-LLaVA, and the model here, see the square in the middle."""
    square = {"left": 32, "top": 0, "right": 96, "bottom": 64}
    assert json.loads(cli("frames", video, "--frames", 8, "--json").out)["seen"] == square
    with_model = cli("frames", video, "--frames", 8, "--json", "--model", model_dir)
    assert json.loads(with_model.out)["seen"] == square


def test_the_model_decides_about_groups(cli, video, model_dir):
    outcome = cli("frames", video, "--model", model_dir, "--frames-per-group", 4)
    assert outcome.code == 2
    assert "--frames-per-group: expected without --model, which says it (8)" in outcome.err


def test_what_is_repeated_is_said(cli, tmp_path):
    few = write_video(tmp_path / "few.mp4", 3)
    outcome = cli("frames", few, "--frames", 8)
    assert outcome.code == 0
    assert "note: the video has 3 frames, 8 were asked for: some are repeated" in outcome.err


# -- the picture ----------------------------------------------------------------------------------


def test_encoder_order_by_hand():
    assert encoder_order(6, 3).tolist() == [0, 2, 4, 1, 3, 5]
    assert encoder_order(6, 3, "contiguous").tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("arguments", [(7, 3), (6, 3, "random"), (6, 0), (0, 3)])
def test_encoder_order_refuses(arguments):
    with pytest.raises(ValueError, match=r"(encoder|token)_order: "):
        encoder_order(*arguments)


@pytest.mark.parametrize("frames", [1, 8, 24, 128, 512])
@pytest.mark.parametrize("grouping", ["interleaved", "contiguous"])
def test_every_frame_and_every_group_is_in_the_picture(tmp_path, frames, grouping):
    """All frames are of one gray, so that the area of that gray says how many are there."""
    clip = read_video(write_video(tmp_path / "v.mp4", 4), 4).take(np.arange(frames) % 4)
    clip.frames[:] = 100
    per_group = 1 if frames == 1 else 8
    pixels = np.asarray(contact_sheet(clip, per_group, grouping)).astype(int)
    assert pixels.shape[1] < 2000
    margins = np.concatenate([pixels[:, :10].ravel(), pixels[:, -10:].ravel(), pixels[-5:].ravel()])
    assert (margins == 255).all(), "something is cut off"
    smallest_thumbnail = 90 * 40
    assert (pixels == 100).all(axis=-1).sum() > frames * smallest_thumbnail
    colorful = pixels[np.ptp(pixels, axis=-1) > 60]
    assert len(np.unique(colorful, axis=0)) >= frames // per_group


PROCESSORS = {
    "square": (32, 32, 32),
    "a wide crop": (32, 48, 40),
    "a crop beyond the picture": (48, 96, 32),
    "no crop": (32, 32, None),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (90, 90)])
def test_the_model_sees_what_lies_in_the_box_and_nothing_else(name, height, width):
    h, w, shortest = PROCESSORS[name]
    processor = FrameProcessor(h, w, shortest, "nearest", 1.0, (0, 0, 0), (1, 1, 1))
    left, top, right, bottom = processor.seen(height, width)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    inside = np.zeros((1, height, width, 3), dtype=np.uint8)
    inside[:, round(top) : round(bottom), round(left) : round(right)] = 255
    values, everything = processor(inside), processor(np.full_like(inside, 255))
    edge = slice(1, -1)  # a pixel of rounding
    assert torch.equal(values[:, :, edge, edge], everything[:, :, edge, edge])
    assert (processor(255 - inside)[:, :, edge, edge] == 0).all()


def test_what_the_crop_cuts_off_is_faded(tmp_path):
    clip = read_video(write_video(tmp_path / "v.mp4", 8), 8)
    clip.frames[:] = 100
    whole, cropped = (
        (np.asarray(contact_sheet(clip, seen=box)) == 100).all(axis=-1).sum()
        for box in (None, (32, 0, 96, 64))
    )
    faded = (np.asarray(contact_sheet(clip, seen=(32, 0, 96, 64))) == 208).all(axis=-1).sum()
    half_of_a_band = 8 * 174 * 87 / 2
    assert whole - cropped == faded == pytest.approx(half_of_a_band, rel=0.1)


def test_a_sheet_has_a_limit(cli, video):
    outcome = cli("frames", video, "--frames", 513)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "intp-video: error: --frames: a picture holds at most 512 frames\n"


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required: COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["frames"], "arguments are required: VIDEO"),
        (["frames", "VIDEO", "--frames", "0"], "--frames: expected 1 to 100,000, got 0"),
        (["frames", "VIDEO", "--frames", "-1"], "--frames: expected 1 to 100,000, got -1"),
        (["frames", "VIDEO", "--frames", "1e9"], "expected a whole number, got '1e9'"),
        (["frames", "VIDEO", "--frames", "1000000000"], "expected 1 to 100,000"),
        (["frames", "VIDEO", "--frames", "abc"], "expected a whole number, got 'abc'"),
        (["frames", "VIDEO", "--frames", "8.0"], "expected a whole number, got '8.0'"),
        (["frames", "VIDEO", "--frames-per-group", "0"], "--frames-per-group: expected 1 to"),
        (["frames", "VIDEO", "--grouping", "random"], "--grouping: invalid choice"),
        (["frames", "VIDEO", "--backend", "ffmpeg"], "--backend: invalid choice"),
        (["frames", "missing.mp4"], "cannot open video 'missing.mp4': No such file"),
        (["frames", "."], "cannot open video '.': it is a directory"),
        (["frames", ""], "cannot open video '': No such file"),
        (["frames", "text.mp4"], "it is a text file"),
        (["frames", "empty.mp4"], "the file is empty"),
        (["frames", "truncated.mp4"], "it is truncated"),
        (["frames", "audio.mp4"], "it has no video stream"),
        (["frames", "none.mp4"], "its video stream has no frames"),
        (["frames", "VIDEO", "--out", "no/such/folder.png"], "No such file or directory"),
        (["frames", "VIDEO", "--out", "."], "cannot write '.': it is a directory"),
        (["frames", "VIDEO", "--out", "text.mp4/x.png"], "Not a directory"),
        (["frames", "VIDEO", "--out", "/dev/full"], "cannot write '/dev/full': No space left"),
        (["random-model", "new", "--size", "huge"], "--size: invalid choice"),
        (["random-model", "new", "--seed", "x"], "--seed: invalid int value"),
        (["random-model", "."], "'.' is not empty"),
        (["random-model", "text.mp4"], "'text.mp4' is a file"),
        (["random-model", "text.mp4/model"], "File exists: 'text.mp4'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, video, tmp_path, arguments, message):
    (tmp_path / "text.mp4").write_text("no video at all\n" * 50)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "truncated.mp4").write_bytes(video.read_bytes()[:1500])
    write_audio(tmp_path / "audio.mp4")
    write_video(tmp_path / "none.mp4", 0, container_options={"movflags": "empty_moov"})
    before = sorted(path.name for path in tmp_path.iterdir())

    outcome = cli(*(video if argument == "VIDEO" else argument for argument in arguments))

    assert outcome.code == 2
    assert outcome.out == ""
    *talk, error = outcome.err.splitlines()
    assert all(line.startswith("note: ") for line in talk)
    assert error.startswith("intp-video: error: ") and message in error
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "something half-done"


def test_a_failed_write_leaves_the_old_picture(cli, video, tmp_path, monkeypatch):
    out = tmp_path / "sheet.png"
    out.write_bytes(b"the old one")

    def save(image, file, format):
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    outcome = cli("frames", video, "--frames", 8, "--out", out)
    assert outcome.code == 2 and "No space left on device" in outcome.err
    assert out.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_is_written_through(cli, video, tmp_path):
    (tmp_path / "link.png").symlink_to("target.png")
    (tmp_path / "target.png").touch()
    assert cli("frames", video, "--frames", 8, "--out", "link.png").code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "target.png").stat().st_size > 0


def test_traceback_on_request(cli):
    outcome = cli("--traceback", "frames", "missing.mp4")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback") and "VideoError" in outcome.err


def test_a_fault_of_the_program_is_no_input_error(cli, video, monkeypatch):
    monkeypatch.setattr("intp_video.contact_sheet.contact_sheet", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli("frames", video, "--frames", 8)


# -- the world outside ----------------------------------------------------------------------------

SLOW = """
import sys, time
def slow(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
"""
STAGES = {
    "decode": "from intp_video.video.pyav_backend import PyavStream; PyavStream._shown = slow",
    "draw": "import intp_video.contact_sheet as c; c.contact_sheet = slow",
    "write": "from PIL import Image; Image.Image.save = slow",
}


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c(cli_process, video, tmp_path, stage):
    process = cli_process("frames", video, "--quiet", prelude=SLOW + STAGES[stage])
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "intp-video: interrupted\n")
    assert list(tmp_path.iterdir()) == [], "half-written output"


def test_no_space_on_stdout(cli_process, video):
    with Path("/dev/full").open("w") as full:
        process = cli_process("frames", video, "--json", "--quiet", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "intp-video: error: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves(cli_process, video):
    process = cli_process("frames", video, "--json", "--quiet")
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


def test_as_a_module(tmp_path):
    import sys

    result = subprocess.run(
        [sys.executable, "-m", "intp_video.cli", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0
    assert "exit codes" in result.stdout and result.stderr == ""
