"""Damaged files of any kind are read or refused, with words; nothing else ever comes out."""

import random

import pytest
from intp_video.errors import VideoError
from intp_video.video import BACKENDS, backend_status, read_video
from video.make_videos import write_video


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    settings = {
        "h264.mp4": {"b_frames": 2},
        "h264.mkv": {"b_frames": 2},
        "h264.ts": {},
        "mpeg4.avi": {"codec": "mpeg4"},
    }
    return [write_video(folder / name, 30, **s).read_bytes() for name, s in settings.items()]


def mangle(data: bytes, rng: random.Random) -> bytes:
    """Cuts it short, changes some bytes, or blanks a stretch."""
    changed = bytearray(data)
    kind = rng.randrange(3)
    if kind == 0:
        return data[: rng.randrange(1, len(data))]
    if kind == 1:
        for _ in range(rng.choice((1, 5, 50))):
            changed[rng.randrange(len(data))] = rng.randrange(256)
    else:
        begin = rng.randrange(len(data))
        changed[begin : begin + rng.randrange(1, 2000)] = b""
    return bytes(changed)


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_mangled_files(tmp_path, originals, backend):
    if backend != "auto" and not backend_status(backend).usable:
        pytest.skip(f"{backend} does not work here")
    read = 0
    for seed in range(60):
        rng = random.Random(seed)
        path = tmp_path / "mangled.mp4"
        path.write_bytes(mangle(rng.choice(originals), rng))
        try:
            clip = read_video(path, 12, backend)
        except VideoError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            read += 1
            assert clip.frames.shape == (12, 64, 128, 3)
            assert (clip.timestamps[1:] >= clip.timestamps[:-1]).all()
            assert (clip.indices[1:] >= clip.indices[:-1]).all()
    assert 0 < read < 60, "the damage is no test"
