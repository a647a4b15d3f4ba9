"""Frames are taken evenly over the time of a video, also where its frames are not evenly spaced."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intp_video.sampling import sample_indices, sample_on_screen
from intp_video.video import BACKENDS, backend_status, read_video
from video.make_videos import number_of, numbers_of, write_video

RECORDING = [0, 3, 200, *range(580, 600)]  # tenths of a second: a screen that changes at its end
GAPS = [1, 1, 1, 40, 1, 1, 7, 1, 25, 1, 1, 2, 1, 1, 1, 90, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1]


def on_screen(starts: list[int], end: int, frames: int) -> list[int]:
    """The definition, in whole numbers: the last frame that began when a segment is half over."""
    return [
        max(k for k, start in enumerate(starts) if start * 2 * frames <= (2 * i + 1) * end)
        for i in range(frames)
    ]


def begins(gaps: list[int]) -> list[int]:
    return [sum(gaps[:k]) for k in range(len(gaps))]


@pytest.fixture(params=[name for name in BACKENDS if name != "torchcodec"])
def backend(request):
    """The decoders that tell when each frame is shown."""
    status = backend_status(request.param)
    if not status.usable:
        pytest.skip(f"{request.param}: {status.problem}")
    return request.param


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("frames", [1, 8, 13, 64])
def test_a_screen_recording_is_sampled_by_time(tmp_path, backend, suffix, frames):
    path = write_video(tmp_path / f"screen.{suffix}", len(RECORDING), pts=RECORDING)
    clip = read_video(path, frames, backend)
    assert clip.duration == pytest.approx(60, abs=2e-3)
    expected = on_screen(RECORDING, 600, frames)
    assert clip.indices.tolist() == expected == numbers_of(clip.frames)
    np.testing.assert_allclose(clip.timestamps, np.array(RECORDING)[expected] / 10, atol=2e-3)


@pytest.mark.parametrize("settings", [{"b_frames": 3}, {"gop": 5}, {"b_frames": 2, "gop": 4}])
@pytest.mark.parametrize("frames", [5, 28, 100])
def test_any_spacing_and_any_order_in_the_file(tmp_path, backend, settings, frames):
    starts = begins(GAPS)
    path = write_video(tmp_path / "gaps.mp4", len(GAPS), pts=starts, **settings)
    clip = read_video(path, frames, backend)
    # an MP4 tells the lengths of frames in the order of the file: of the last one just about
    assert clip.duration == pytest.approx(sum(GAPS) / 10, abs=0.3)
    assert numbers_of(clip.frames) == on_screen(starts, round(clip.duration * 10), frames)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts", "avi", "mov"])
@pytest.mark.parametrize("frames", [7, 60])
def test_a_constant_rate_is_sampled_by_count_in_any_container(tmp_path, suffix, frames):
    b_frames = 0 if suffix == "avi" else 2  # AVI has no place for the order in which to show them
    rate = Fraction(30000, 1001)
    path = write_video(tmp_path / f"even.{suffix}", 100, fps=rate, b_frames=b_frames)
    clip = read_video(path, frames)
    assert (clip.backend, clip.notes) == ("pyav", ())
    assert numbers_of(clip.frames) == sample_indices(100, frames).tolist()


def test_a_clock_that_begins_late(tmp_path, backend):
    starts = [500 + start for start in RECORDING]
    path = write_video(tmp_path / "late.mkv", len(starts), pts=starts)
    clip = read_video(path, 8, backend)
    assert numbers_of(clip.frames) == on_screen(RECORDING, 600, 8)
    assert clip.timestamps[0] == pytest.approx(0.3)


def test_what_stays_on_screen_is_said_with_its_times(tmp_path, backend):
    path = write_video(tmp_path / "screen.mp4", len(RECORDING), pts=RECORDING)
    assert read_video(path, 8, backend).notes == (
        "frames that stay on screen for longer than a segment (7.5 s) are repeated: "
        "from 0.3 to 20.0 s, from 20.0 to 58.0 s",
    )
    assert read_video(path, 1, backend).notes == ()


def test_a_decoder_that_tells_no_times_says_that_it_went_by_count(tmp_path, monkeypatch):
    from intp_video.video.pyav_backend import PyavStream

    index = PyavStream._index

    def without_times(stream):
        index(stream)
        stream.starts = None

    monkeypatch.setattr(PyavStream, "_index", without_times)
    path = write_video(tmp_path / "screen.mp4", len(RECORDING), pts=RECORDING)
    clip = read_video(path, 8, "pyav")
    assert clip.indices.tolist() == sample_indices(len(RECORDING), 8).tolist()
    assert clip.notes == (
        "pyav does not tell when frames are shown: they were taken by count. Their times are not "
        "those of an even rate: it varies, or other frames came than were asked for",
    )
    even = read_video(write_video(tmp_path / "even.mp4", 30), 8, "pyav")
    assert even.notes == ()


def test_a_lost_frame_is_replaced_by_the_nearest_in_time(tmp_path):
    """By count the frame before the gap is as near as the one after it."""
    from intp_video.video.pyav_backend import PyavStream

    starts = [0, 10, 100, 110, 200]
    path = write_video(tmp_path / "v.mp4", len(starts), pts=starts)
    decode = PyavStream.decode

    def without_the_third(stream, indices):
        for index, found in zip(indices, decode(stream, indices), strict=True):
            yield None if index == 2 else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PyavStream, "decode", without_the_third)
        clip = read_video(path, 200, "pyav")
    assert 2 not in clip.indices
    stood_in = [number_of(image) for image in clip.frames]
    assert stood_in.count(3) > on_screen(starts, 201, 200).count(3)
    assert stood_in.count(1) == on_screen(starts, 201, 200).count(1)


def test_a_last_frame_without_a_length_is_shown_too(monkeypatch, tmp_path):
    """Matroska and WebM may tell no length: the usual distance between frames stands for it."""
    from intp_video.video.pyav_backend import PyavStream

    class Bare:
        def __init__(self, packet):
            self.packet, self.duration = packet, None

        def __getattr__(self, name):
            return getattr(self.packet, name)

    packets = PyavStream._packets
    monkeypatch.setattr(
        PyavStream,
        "_packets",
        lambda *a, **k: packets(*a, **k) if k else map(Bare, packets(*a)),
    )
    clip = read_video(write_video(tmp_path / "v.mkv", 12), 12, "pyav")
    assert clip.duration == pytest.approx(1.2, abs=2e-3)
    assert numbers_of(clip.frames) == list(range(12))


# -- the rule itself ------------------------------------------------------------------------------

gaps = st.lists(st.integers(1, 500), min_size=1, max_size=60)


@given(gaps, st.integers(1, 80))
def test_the_frame_on_screen_in_the_middle_of_each_segment(gaps, frames):
    starts, end = begins(gaps), sum(gaps)
    # quarters of a second: a last frame that is longer by less than a tenth is not told apart
    got = sample_on_screen(np.array(starts) / 4, end / 4, frames)
    assert got.dtype == np.int64
    assert got.tolist() == on_screen(starts, end, frames)


@given(
    st.integers(1, 3000),
    st.sampled_from([(24000, 1001), (30000, 1001), (25, 1), (12, 1), (60000, 1001), (120, 1)]),
    st.sampled_from([0, 3, 5]),
    st.integers(1, 200),
)
def test_a_constant_rate_gives_the_frames_that_counting_gives(count, rate, digits, frames):
    """Whatever clock the container rounds to; Matroska counts milliseconds."""
    starts = np.arange(count) * rate[1] / rate[0]
    if digits:
        starts = np.round(starts, digits)
    got = sample_on_screen(starts, count * rate[1] / rate[0], frames)
    assert got.tolist() == sample_indices(count, frames).tolist()


@pytest.mark.parametrize("last", [0.0, 0.5, 3.0])
def test_a_wrong_length_of_the_last_frame_moves_no_frame_of_a_constant_rate(last):
    got = sample_on_screen(np.arange(50) / 25, 49 / 25 + last / 25, 16)
    assert got.tolist() == sample_indices(50, 16).tolist()


def test_eight_hours_in_single_precision():
    """decord keeps its times in float32."""
    starts = (np.arange(8 * 3600 * 25) / 25).astype(np.float32).astype(np.float64)
    got = sample_on_screen(starts, 8 * 3600, 4096)
    assert got.tolist() == sample_indices(len(starts), 4096).tolist()


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf")])
def test_durations_must_be_finite(duration):
    with pytest.raises(ValueError, match="sample_on_screen: duration must be finite"):
        sample_on_screen(np.zeros(1), duration, 8)
