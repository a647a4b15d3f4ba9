"""`read_video` on videos made here, with every backend that works on this machine."""

import os

import numpy as np
import pytest
from intp_video.errors import IntpVideoError, VideoError
from intp_video.sampling import sample_indices
from intp_video.video import BACKENDS, backend_status, read_video
from intp_video.video.reader import _ranges
from video.make_videos import damage, numbers_of, write_audio, write_video

WORKING = [name for name in BACKENDS if backend_status(name).usable]


@pytest.fixture(params=BACKENDS)
def backend(request):
    status = backend_status(request.param)
    if not status.usable:
        pytest.skip(f"{request.param}: {status.problem}")
    return request.param


@pytest.fixture
def plain(tmp_path):
    return write_video(tmp_path / "plain.mp4", 60)


def test_a_clip(plain, backend):
    clip = read_video(plain, 8, backend)
    assert clip.frames.shape == (8, 64, 128, 3) and clip.frames.dtype == np.uint8
    assert clip.timestamps.dtype == np.float64 and clip.indices.dtype == np.int64
    assert clip.indices.tolist() == sample_indices(60, 8).tolist()
    np.testing.assert_allclose(clip.timestamps, clip.indices / 10, atol=1e-5)
    assert (clip.fps, clip.backend, clip.path) == (pytest.approx(10), backend, str(plain))
    assert clip.duration == pytest.approx(6, abs=1e-4)
    assert clip.notes == () and len(clip) == 8


def test_a_clip_is_shown_without_its_pixels(plain):
    shown = repr(read_video(plain, 8, "pyav"))
    assert shown == f"Clip({str(plain)!r}, 6.0 s, frames=[8, 64, 128, 3], backend='pyav')"


def test_ends(plain, backend):
    clip = read_video(plain, 8, backend, sampling="ends")
    assert numbers_of(clip.frames) == [0, 8, 16, 25, 33, 42, 50, 59]
    np.testing.assert_allclose(clip.timestamps, clip.indices / 10, atol=1e-5)


def test_unknown_samplings(plain):
    with pytest.raises(ValueError, match="sampling must be centers or ends, got 'middle'"):
        read_video(plain, 8, sampling="middle")


@pytest.mark.parametrize(
    ("name", "settings"),
    {
        "b_frames.mp4": {"b_frames": 3},
        "short_groups.mp4": {"b_frames": 1, "gop": 3},
        "one_group.mkv": {"b_frames": 3, "gop": 1000},
        "late.mkv": {"b_frames": 3, "pts": [50 + i for i in range(60)]},
        "mpeg4.mp4": {"codec": "mpeg4"},
    }.items(),
)
@pytest.mark.parametrize("frames", [7, 60])
def test_every_backend_returns_the_frames_asked_for(tmp_path, backend, name, settings, frames):
    path = write_video(tmp_path / name, 60, **settings)
    clip = read_video(path, frames, backend)
    assert numbers_of(clip.frames) == sample_indices(60, frames).tolist()
    shown_at = np.array(settings.get("pts", range(60)))[clip.indices] / 10
    first = settings.get("pts", [0])[0] / 10
    np.testing.assert_allclose(clip.timestamps, shown_at - first, atol=2e-3)  # mkv counts in ms


@pytest.mark.parametrize("name", ["mpeg4.avi", "mpeg4.mp4", "transport.ts"])
def test_frames_out_of_order_in_the_file(tmp_path, name):
    """Files of which other decoders number the frames wrongly: why PyAV comes first."""
    codec = "h264" if name.endswith("ts") else "mpeg4"
    path = write_video(tmp_path / name, 60, codec=codec, b_frames=2)
    clip = read_video(path, 25)
    assert numbers_of(clip.frames) == sample_indices(60, 25).tolist()
    assert (clip.backend, clip.notes) == ("pyav", ())


@pytest.mark.parametrize("frames", [7, 60])
@pytest.mark.parametrize("b_frames", [0, 1, 3])
def test_an_avi_with_b_frames(tmp_path, b_frames, frames):
    """It has no times of display, and FFmpeg gives those of the order in the file."""
    path = write_video(tmp_path / "v.avi", 60, b_frames=b_frames)
    clip = read_video(path, frames, "pyav")
    assert numbers_of(clip.frames) == sample_indices(60, frames).tolist()
    np.testing.assert_allclose(clip.timestamps, clip.indices / 10, atol=1e-5)
    said = "AVI does not tell when frames that are stored out of order are shown: all were decoded "
    assert clip.notes == ((said + "from the beginning, and counted",) if b_frames else ())


def test_few_frames_repeat_and_the_clip_says_so(tmp_path, backend):
    clip = read_video(write_video(tmp_path / "few.mp4", 3), 8, backend)
    assert numbers_of(clip.frames) == [0, 0, 0, 1, 1, 2, 2, 2] == clip.indices.tolist()
    assert clip.notes == ("the video has 3 frames, 8 were asked for: some are repeated",)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_honored(tmp_path, backend, degrees):
    upright = read_video(write_video(tmp_path / "upright.mp4", 4), 4, backend)
    turned = read_video(write_video(tmp_path / "turned.mp4", 4, rotation=degrees), 4, backend)
    expected = np.rot90(upright.frames, degrees // 90, axes=(1, 2))
    assert turned.frames.shape == expected.shape
    error = np.abs(turned.frames.astype(int) - expected).mean()
    assert error < 3, f"mean error {error} of 255: turned the other way?"


def test_backends_agree_on_colours(tmp_path):
    path = write_video(tmp_path / "colors.mp4", 8)
    clips = [read_video(path, 8, name).frames.astype(int) for name in WORKING]
    for frames in clips[1:]:
        assert np.abs(frames - clips[0]).mean() < 2


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    from intp_video.video.pyav_backend import PyavStream

    path = write_video(tmp_path / "long.mp4", 240, gop=10, b_frames=2)
    decoded, frames = [], PyavStream._frames

    def counted(stream):
        for frame in frames(stream):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(PyavStream, "_frames", counted)
    assert numbers_of(read_video(path, 4, "pyav").frames) == [30, 90, 150, 210]
    assert len(decoded) < 4 * 2 * 10, "more than the keyframes' groups that hold the samples"


def test_take(plain):
    clip = read_video(plain, 4)
    taken = clip.take([0, 0, 3])
    assert taken.indices.tolist() == clip.indices[[0, 0, 3]].tolist()
    np.testing.assert_array_equal(taken.frames, clip.frames[[0, 0, 3]])
    assert taken.timestamps.shape == (3,)


def test_threads_change_nothing(plain, backend):
    one, four = (read_video(plain, 8, backend, num_threads=n) for n in (1, 4))
    np.testing.assert_array_equal(one.frames, four.frames)


# -- damage ---------------------------------------------------------------------------------------


def test_lost_frames_are_said_and_replaced_by_the_nearest(tmp_path, plain, backend):
    path = damage(plain, tmp_path / "damaged.mp4", packet=24)  # the keyframe of frames 24..35
    clip = read_video(path, 60, backend)
    lost = np.flatnonzero(clip.indices != np.arange(60))
    assert len(lost) > 0
    if backend != "decord":  # whose threads decode ahead, and lose more or less of what they hold
        assert set(lost.tolist()) <= set(range(12, 36))
    intact = [i for i in range(60) if not 24 <= i < 36]
    assert numbers_of(clip.frames[intact]) == clip.indices[intact].tolist()
    np.testing.assert_allclose(clip.timestamps, clip.indices / 10, atol=1e-5)
    said = f"{len(lost)} of 60 frames could not be decoded; the nearest decoded frame was used for"
    assert f"{said} {_ranges(lost)}" in clip.notes


def test_auto_takes_the_backend_that_loses_least(tmp_path, plain):
    path = damage(plain, tmp_path / "damaged.mp4", packet=17)
    clip = read_video(path, 60)
    lost = {n: int((read_video(path, 60, n).indices != np.arange(60)).sum()) for n in WORKING}
    assert lost[clip.backend] == min(lost.values())
    assert clip.notes


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_file_that_ends_early(tmp_path, suffix):
    """The index of an MP4 stands at its end: nothing can be read. Matroska gives what is there."""
    whole = write_video(tmp_path / f"whole.{suffix}", 60).read_bytes()
    path = tmp_path / f"half.{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    if suffix == "mp4":
        with pytest.raises(VideoError, match=r"it is truncated, \d+ bytes are missing"):
            read_video(path, 8)
    else:
        missing = len(whole) - len(whole) // 2
        assert f"the file is truncated: {missing:,} bytes are missing at its end" in (
            read_video(path, 8).notes
        )


def test_whole_files_are_not_called_truncated(tmp_path):
    for suffix in ("mp4", "mov", "mkv", "webm"):
        codec = "libvpx-vp9" if suffix == "webm" else "h264"
        path = write_video(tmp_path / f"whole.{suffix}", 12, codec=codec)
        assert read_video(path, 4).notes == ()


# -- bad input ------------------------------------------------------------------------------------


@pytest.fixture
def bad_file(tmp_path, request):
    path = tmp_path / "video.mp4"
    if request.param == "directory":
        path.mkdir()
    elif request.param == "text":
        path.write_text("this is no video\n" * 100)
    elif request.param == "empty":
        path.touch()
    elif request.param == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(4096))
    elif request.param == "zeros":
        path.write_bytes(bytes(4096))
    elif request.param == "audio":
        write_audio(path)
    elif request.param == "no_frames":
        write_video(path, 0, container_options={"movflags": "empty_moov"})
    elif request.param == "pipe":
        os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("bad_file", "message"),
    [
        ("missing", "cannot open video .*: No such file"),
        ("directory", "cannot open video .*: it is a directory"),
        ("pipe", "it is not a regular file"),
        ("empty", "the file is empty"),
        ("text", "it is a text file"),
        ("noise", "no decoder can read it .*Invalid data"),
        ("zeros", "no decoder can read it .*Invalid data"),
        ("audio", r"it has no video stream \(streams: audio\)"),
        ("no_frames", "its video stream has no frames"),
    ],
    indirect=["bad_file"],
)
def test_bad_files(bad_file, message):
    with pytest.raises(VideoError, match=message) as caught:
        read_video(bad_file, 8)
    assert "\n" not in str(caught.value)
    assert str(bad_file) in str(caught.value)
    assert isinstance(caught.value, IntpVideoError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("path", [None, 3, b"video.mp4", ["video.mp4"]])
def test_a_path_of_the_wrong_type(path):
    with pytest.raises(TypeError, match="read_video: path must be a str or Path, got"):
        read_video(path, 8)


def test_a_path_that_no_system_has():
    with pytest.raises(VideoError, match="null byte"):
        read_video("a\0b.mp4", 8)


@pytest.mark.parametrize("frames", [0, -1, 10**9])
def test_frames_out_of_range(plain, frames):
    with pytest.raises(ValueError, match="read_video: frames: expected 1 to"):
        read_video(plain, frames)


@pytest.mark.parametrize("threads", [0, -2, 1.5, True])
def test_threads_out_of_range(plain, threads):
    with pytest.raises((TypeError, ValueError), match="read_video: num_threads: expected"):
        read_video(plain, 8, num_threads=threads)


def test_unknown_backend(plain):
    with pytest.raises(ValueError, match=r"must be auto, pyav, torchcodec, decord, got 'ffmpeg'"):
        read_video(plain, 8, "ffmpeg")


def test_more_than_fits_into_memory(plain, monkeypatch):
    sysconf = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda n: 1 if n == "SC_PHYS_PAGES" else sysconf(n))
    with pytest.raises(VideoError, match=r"8 frames of 128x64 need 0 GB of memory, this machine"):
        read_video(plain, 8)


# -- backends that are not there ------------------------------------------------------------------


def hide(monkeypatch, *packages):
    """Makes ``import package`` fail the way it does where the package is not installed."""
    import importlib

    real = importlib.import_module

    def import_module(name, *args):
        if name in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_a_named_backend_that_is_not_installed(plain, monkeypatch):
    hide(monkeypatch, "av")
    with pytest.raises(VideoError, match=r"pyav: not installed \(pip install av\)"):
        read_video(plain, 8, "pyav")


def test_auto_without_any_backend_names_every_package(plain, monkeypatch):
    hide(monkeypatch, "av", "torchcodec", "decord")
    with pytest.raises(VideoError, match=r"install av\).*install torchcodec\).*install decord\)"):
        read_video(plain, 8)


@pytest.mark.skipif("decord" not in WORKING, reason="decord does not work here")
def test_auto_says_why_it_fell_back(plain, monkeypatch):
    hide(monkeypatch, "av", "torchcodec")
    clip = read_video(plain, 8)
    assert clip.backend == "decord"
    assert clip.notes == (
        "pyav was not used: not installed (pip install av)",
        "torchcodec was not used: not installed (pip install torchcodec)",
    )
