"""Videos that others made, where they lie beside the repository."""

from pathlib import Path

import numpy as np
import pytest
from intp_video.video import BACKENDS, backend_status, read_video

VIDEOS = Path(__file__).resolve().parents[3] / "shared" / "videos"
pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"no videos in {VIDEOS}")

SHAPES = {  # height and width, upright
    "flipping_a_pancake.mkv": (240, 426),
    "nasa_13013.mp4": (270, 480),
    "h265_video.mp4": (128, 128),
    "video_90.mov": (568, 320),
    "unordered.mov": (50, 50),
}


@pytest.mark.parametrize("name", SHAPES)
def test_backends_return_the_same_frames(name):
    working = [b for b in BACKENDS if backend_status(b).usable]
    clips = [read_video(VIDEOS / name, 64, backend) for backend in working]
    for clip in clips:
        assert clip.frames.shape == (64, *SHAPES[name], 3)
        np.testing.assert_array_equal(clip.indices, clips[0].indices)
        np.testing.assert_allclose(clip.timestamps, clips[0].timestamps, atol=1e-4)
        assert np.abs(clip.frames.astype(int) - clips[0].frames).mean() < 3


def test_av1_is_read_by_a_decoder_that_knows_it():
    assert len(read_video(VIDEOS / "av1_video.mkv", 8)) == 8


def test_what_a_damaged_video_loses_is_said():
    clip = read_video(VIDEOS / "corrupted.mp4", 50)
    lost = int((clip.indices != np.arange(50)).sum())
    assert 0 < lost < 5
    assert any(note.startswith(f"{lost} of 50 frames could not be decoded") for note in clip.notes)
