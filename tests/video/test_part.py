"""A part of a video, and a rate: frames and times are those of the whole video's clock."""

import numpy as np
import pytest
from intp_video import VideoError, read_video
from intp_video.sampling import sample_part
from intp_video.video import Clip, Part
from video.make_videos import numbers_of, write_video


@pytest.fixture(params=["pyav", "torchcodec", "decord"])
def backend(request):
    pytest.importorskip({"pyav": "av"}.get(request.param, request.param))
    return request.param


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """60 numbered frames in 6 seconds."""
    return write_video(tmp_path_factory.mktemp("videos") / "numbers.mp4", 60)


def test_frames_and_times_are_those_of_the_whole_video(video, backend):
    clip = read_video(video, 4, backend, start=2, end=4)
    assert clip.indices.tolist() == numbers_of(clip.frames) == [22, 27, 32, 37]
    np.testing.assert_allclose(clip.timestamps, [2.2, 2.7, 3.2, 3.7], atol=1e-6)
    assert (clip.start, clip.end, clip.covered) == (2, 4, 2)
    assert clip.duration == pytest.approx(6)
    assert clip.extent == "2.0 to 4.0 s of 6.0 s"


def test_one_side_is_enough(video):
    assert read_video(video, 2, start=4).indices.tolist() == [45, 55]
    assert read_video(video, 2, end=2).indices.tolist() == [5, 15]


def test_the_whole_video_by_its_times_is_the_whole_video(video):
    whole = read_video(video, 7)
    assert read_video(video, 7, start=0, end=6).indices.tolist() == whole.indices.tolist()
    assert read_video(video, 7, end=6.05).indices.tolist() == whole.indices.tolist()  # and rounding
    assert (whole.start, whole.end, whole.extent) == (0, whole.duration, "6.0 s")


def test_ends_of_a_part(video):
    clip = read_video(video, 3, sampling="ends", start=1, end=3)
    assert clip.indices.tolist() == [10, 19, 29]


@pytest.mark.parametrize(("fps", "count"), [(1, 6), (2, 12), (0.25, 2), (0.1, 1), (10, 60)])
def test_a_rate(video, fps, count):
    clip = read_video(video, None, fps=fps)
    assert clip.indices.tolist() == read_video(video, count).indices.tolist()
    assert clip.notes == ()


def test_a_rate_in_a_part(video):
    assert read_video(video, 100, start=1, end=3, fps=2).indices.tolist() == [12, 17, 22, 27]


def test_a_rate_that_gives_more_than_are_wanted(video):
    clip = read_video(video, 8, fps=5)
    assert clip.indices.tolist() == read_video(video, 8).indices.tolist()
    assert clip.notes == ("5 frames a second would be 30: 8 were taken, 1.33 a second",)


def test_a_short_part_repeats_frames_and_says_so(video):
    clip = read_video(video, 8, start=1, end=1.35)
    assert set(clip.indices.tolist()) == {10, 11, 12, 13}
    assert clip.notes == (
        "that part of the video has 4 frames, 8 were asked for: some are repeated",
    )


def test_a_part_where_the_rate_varies(tmp_path):
    """30 frames in the first of 10 seconds, then one that stays, then 30 in the last."""
    begins = [*range(30), *range(270, 300)]
    path = write_video(tmp_path / "stands.mp4", 60, pts=begins, fps=30)
    clip = read_video(path, 4, start=0.5, end=9.2)
    seconds = np.array(begins) / 30
    middles = 0.5 + 8.7 * (np.arange(4) + 0.5) / 4
    expected = np.searchsorted(seconds, middles, side="right") - 1
    assert clip.indices.tolist() == expected.tolist()


@pytest.mark.parametrize("digits", [2, 3])
@pytest.mark.parametrize("rate", [25.0, 30.0, 30000 / 1001])
def test_a_rounded_clock_moves_no_frame_by_more_than_one(rate, digits):
    count = 1000
    starts = np.round(np.arange(count) / rate, digits + 1)
    duration = count / rate
    found, available = sample_part(starts, count, duration, 50, "centers", 5.0, 25.0)
    middles = 5 + 20 * (np.arange(50) + 0.5) / 50
    assert np.abs(found - np.floor(middles * rate + 1e-6)).max() <= 1
    assert available == pytest.approx(20 * rate, abs=2)
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"start": 6}, r"start: expected less than 6 s, where the video ends, got 6"),
        ({"start": 60, "end": 70}, r"start: expected less than 6 s"),
        ({"start": 1, "end": 7}, r"end: expected at most 6 s, where the video ends, got 7"),
        ({"fps": 0.05}, r"fps: expected at least 0\.0833, for one frame of 6 s, got 0\.05"),
        (
            {"fps": 1e308},
            r"fps: expected at most 100,000 frames of 6 s, got 1,000,000,000,000",
        ),
        ({"fps": 1e6}, r"fps: expected at most 100,000 frames of 6 s, got 6,000,000"),
    ],
)
def test_what_a_video_does_not_have(video, reading, message):
    with pytest.raises(VideoError, match=message) as caught:
        read_video(video, None if "fps" in reading else 8, **reading)
    assert str(video) in str(caught.value)


@pytest.mark.parametrize(
    ("reading", "kind", "message"),
    [
        ({"start": -1}, ValueError, "start: expected a finite number >= 0, got -1"),
        ({"end": float("nan")}, ValueError, "end: expected a finite number >= 0, got nan"),
        ({"end": float("inf")}, ValueError, "end: expected a finite number >= 0, got inf"),
        ({"end": 0}, ValueError, "end: expected more than start, 0 s, got 0"),
        ({"start": 3, "end": 2}, ValueError, "end: expected more than start, 3 s, got 2"),
        ({"start": 3, "end": 3}, ValueError, "end: expected more than start, 3 s, got 3"),
        ({"end": 10**400}, ValueError, "end: expected a finite number >= 0, got 1000"),
        ({"fps": 0}, ValueError, "fps: expected more than 0, got 0"),
        ({"fps": True}, TypeError, "fps: expected a number, got bool"),
        ({"start": "1:30"}, TypeError, "start: expected a number, got str"),
    ],
)
def test_nonsense_is_refused_before_a_file_is_opened(reading, kind, message):
    with pytest.raises(kind, match=f"read_video: {message}"):
        read_video("there is none", 8, **reading)


def test_a_number_or_a_rate_is_needed(video):
    with pytest.raises(TypeError, match="frames: expected an int, got NoneType"):
        read_video(video, None)


def test_a_clip_has_no_part(video):
    clip = read_video(video, 2)
    with pytest.raises(TypeError, match="ask: start, end, fps: expected with a video file"):
        Part(start=1).check("ask", clip)
    Part().check("ask", clip)


def test_a_clip_made_by_hand_is_of_all_its_video():
    clip = Clip(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1), np.zeros(1), 1.0, 9.0, "none", "x")
    assert (clip.start, clip.end, clip.covered) == (0, 9, 9)
