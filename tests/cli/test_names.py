"""Names of files: with colons, in any script, in no encoding, as long as they may be."""

import json
import os
import shutil

import numpy as np
import pytest
from intp_video.cli.console import write_atomically
from intp_video.contact_sheet import contact_sheet
from intp_video.lab.random_model import make_random_model
from intp_video.lab.shapes import held_out_world, write_world
from intp_video.lettering import legible
from intp_video.video import BACKENDS, Clip, backend_status, read_video
from PIL import Image

NOT_UTF8 = os.fsdecode(b"b\xff.mp4")
NAMES = {
    "colons": "12:30:45.mp4",
    "a protocol": "http:x.mp4",
    "concat": "concat:a|b.mp4",
    "spaces": " a  b .mp4",
    "percent": "a%03d.mp4",
    "umlauts": "Grüße.mp4",
    "CJK": "世界.mp4",
    "newline": "a\nb.mp4",
    "a dash": "-x.mp4",
    "not UTF-8": NOT_UTF8,
    "255 bytes": "x" * 251 + ".mp4",
    "255 bytes of umlauts": "ü" * 125 + "x.mp4",
}


@pytest.fixture
def named(video, tmp_path, monkeypatch):
    """A copy of the video, by a relative name."""
    monkeypatch.chdir(tmp_path)

    def copy(name):
        try:
            shutil.copy(video, name)
        except OSError as error:
            pytest.skip(f"this file system takes no such name: {error}")
        return name

    return copy


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", NAMES)
def test_every_decoder_opens_the_file_of_this_name(named, kind, backend):
    if not backend_status(backend).usable:
        pytest.skip(f"{backend} does not work here")
    name = named(NAMES[kind])
    if kind == "not UTF-8" and backend != "pyav":
        with pytest.raises(ValueError, match="takes no name that is not UTF-8: rename the file"):
            read_video(name, 2, backend)
        return
    clip = read_video(name, 2, backend)
    assert (clip.path, clip.notes) == (name, ())


@pytest.mark.parametrize("kind", NAMES)
def test_the_sheet_gets_its_name_from_the_video(cli_process, named, tmp_path, kind):
    name = named(NAMES[kind])
    process = cli_process("frames", "--frames", 8, "--quiet", "--", name, text=False)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    sheet = os.fsdecode(out.removesuffix(b"\n"))
    stem = sheet.removesuffix(".frames.png")
    assert stem != sheet and name[:-4].startswith(stem) and (stem == name[:-4] or len(name) > 100)
    with Image.open(tmp_path / sheet) as image:
        assert image.format == "PNG" and image.width < 2000


def test_json_of_a_name_that_is_not_utf8_is_json(cli_process, named):
    name = named(NOT_UTF8)
    process = cli_process("frames", name, "--frames", 8, "--quiet", "--json", text=False)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out.decode("utf-8"))["video"] == name


def test_letters_that_stdout_does_not_have_are_escaped(cli_process, named):
    name = named("世.mp4")
    process = cli_process(
        *("frames", name, "--frames", 8, "--quiet"),
        prelude="import sys; sys.stdout.reconfigure(encoding='ascii')",
    )
    assert process.communicate(timeout=60)[0] == "\\u4e16.frames.png\n"


@pytest.mark.parametrize("name", ["12:30.mp4", "x" * 251 + ".mp4"])
def test_videos_are_written_under_such_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_world(name, held_out_world(0, 1 / 8)[0], frames=2, size=32)
    assert os.listdir(tmp_path) == [name]


def test_the_longest_names_of_outputs(tmp_path):
    with write_atomically(tmp_path / ("x" * 255)) as file:
        file.write(b"content")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"content"
    make_random_model(tmp_path / ("m" * 255))
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.png", "PNG"), ("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.webp", "WEBP"), ("x", "PNG")],
)
def test_the_ending_says_which_kind_of_picture(cli, video, tmp_path, name, kind):
    assert cli("frames", video, "--frames", 8, "--out", name).code == 0
    with Image.open(tmp_path / name) as image:
        assert image.format == kind


# -- titles ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["plain", "Grüße", "Привет", "世界", "a\nb\t", "\udcff", "🎬"])
def test_no_letter_is_a_box(text):
    """A font has each, or its number stands there."""
    font, shown = legible(text, 30)
    box = font.getmask("\uffff")
    for letter in shown:
        mask = font.getmask(letter)
        assert (mask.size, bytes(mask)) != (box.size, bytes(box)), letter
    assert text != "plain" or shown == "plain"


def test_without_fonts_letters_become_their_numbers(monkeypatch):
    monkeypatch.setattr("intp_video.lettering._FONTS", ())
    assert legible("Grüße 世", 20)[1] == "Gr\\xfc\\xdfe \\u4e16"
    assert legible("plain", 20)[1] == "plain"


def test_different_titles_are_different_pictures():
    def title(name):
        clip = Clip(
            frames=np.zeros((8, 4, 4, 3), dtype=np.uint8),
            timestamps=np.arange(8.0),
            indices=np.arange(8),
            fps=1.0,
            duration=8.0,
            backend="none",
            path=name,
        )
        return np.asarray(contact_sheet(clip))[:90]

    assert (title("äö.mp4") != title("öü.mp4")).any()
    assert (title("世.mp4") != title("界.mp4")).any()
    long = title("x" * 251 + ".mp4")
    assert (long[:, -30:] == 255).all(), "it runs over the edge"
