"""The video that the project draws itself."""

import numpy as np
import pytest
from intp_video.synthetic import COLORS, draw_frames, make_story, render_video
from intp_video.video import read_video


def test_the_same_arguments_write_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        render_video(tmp_path / name, seconds=3, seed=5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_another_seed_is_another_story():
    assert make_story(10, seed=0) != make_story(10, seed=1)


def test_it_reads_back_as_it_was_drawn(tmp_path):
    story = render_video(tmp_path / "v.mp4", seconds=4, fps=6, size=(96, 64))
    clip = read_video(tmp_path / "v.mp4", 24)
    drawn = np.stack(list(draw_frames(story, 4, fps=6, size=(96, 64))))
    assert clip.frames.shape == drawn.shape == (24, 64, 96, 3)
    assert np.abs(clip.frames.astype(int) - drawn).mean() < 6
    assert (clip.fps, clip.duration) == (6, 4)


def test_events_are_on_screen_exactly_while_the_story_says_so():
    (event, *_) = make_story(8, seed=2)
    for i, image in enumerate(draw_frames([event], 8, fps=10)):
        on_screen = (image == np.array(COLORS[event.color])).all(axis=-1)[40:200].any()
        assert on_screen == (event.start <= i / 10 < event.end)


@pytest.mark.parametrize(
    "arguments",
    [{"seconds": 0}, {"seconds": float("nan")}, {"fps": 0}, {"size": (33, 32)}, {"size": (8, 8)}],
)
def test_bad_arguments(tmp_path, arguments):
    with pytest.raises(ValueError, match="render_video: "):
        render_video(tmp_path / "v.mp4", **arguments)
    assert not list(tmp_path.iterdir())
