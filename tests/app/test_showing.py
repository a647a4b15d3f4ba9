"""A video as a page shows it, before the model is asked anything."""

import shutil
from dataclasses import replace

import intp_video
import numpy as np
import pytest
from app.example import CHOICE
from intp_video.app.answers import message_html
from intp_video.app.frames import frames_html, plan_html
from intp_video.grouping import encoder_order
from intp_video.video import Part


def test_frames_groups_and_plan(projector, path):
    shown = projector.show(path, CHOICE)
    assert len(shown.clip) == 32 and len(shown.short) == 8 and len(shown.thumbnails) == 32
    assert np.array_equal(np.argsort(shown.place_of), encoder_order(32, 8).numpy())
    assert np.bincount(shown.group_of).tolist() == [8] * 4
    plan = intp_video.plan(intp_video.SMALL_MODEL, 32)
    assert (shown.plan, shown.factor, shown.fitting) == (plan, plan.factor, 8)


def test_a_number_that_fills_no_groups_is_rounded_up(projector, path):
    assert len(projector.show(path, replace(CHOICE, frames=9)).clip) == 16


def test_the_same_frames_are_not_read_again(projector, path):
    before = projector.show(path, CHOICE)
    after = projector.show(path, replace(CHOICE, kv_bits=4, rope="none"), before)
    assert after.clip is before.clip and after.thumbnails is before.thumbnails
    assert after.plan.kv_bytes < before.plan.kv_bytes and after.factor == 1
    assert projector.show(path, replace(CHOICE, frames=8), after).clip is not before.clip


def test_a_part_at_a_rate(projector, path):
    part = Part(start=2, end=5, fps=3)
    shown = projector.show(path, replace(CHOICE, part=part))
    expected = intp_video.read_video(path, 32, start=2, end=5, fps=3)
    assert len(expected) == 9 and len(shown.clip) == 16  # whole groups, by repeating
    assert set(shown.clip.indices.tolist()) == set(expected.indices.tolist())
    assert len(shown.short) == 8 and (shown.short.start, shown.short.end) == (2, 5)
    again = projector.show(path, replace(CHOICE, part=part, rope="none"), shown)
    assert again.clip is shown.clip
    assert projector.show(path, CHOICE, shown).clip is not shown.clip


def test_what_is_drawn(projector, path):
    shown = projector.show(path, replace(CHOICE, window=4))
    drawn = frames_html(shown)
    assert drawn.count("<li class='iv-cell") == 32 and "32 frames of 8.0 s, 4 groups of 8" in drawn
    # the last frame sees the first, and four with itself
    assert drawn.count("class='iv-unseen'") == 32 - 5
    assert "trained for 8 frames" in drawn and f"stretched x{shown.factor:.2f}" in drawn
    tiles = plan_html(shown)
    assert f"{shown.plan.total_tokens:,} tokens" in tiles and f"yarn x{shown.factor:.2f}" in tiles


def test_frames_that_fit_into_training_are_not_stretched(projector, path):
    drawn = frames_html(projector.show(path, replace(CHOICE, frames=8)))
    assert "all of it fits into training" in drawn and "stretched" not in drawn


def test_names_of_files_are_text(projector, path, tmp_path):
    other = tmp_path / "<img src=x>.mp4"
    shutil.copy(path, other)
    assert "<img src=x>" not in frames_html(projector.show(str(other), CHOICE))
    assert message_html("<b>") == "<p class='iv-message iv-error' role='alert'>&lt;b&gt;</p>"
    assert message_html("") == ""


@pytest.mark.parametrize("frames", [0, 1000])
def test_numbers_out_of_range_are_said(projector, path, frames):
    with pytest.raises(ValueError, match=r"frames: .*got"):
        projector.show(path, replace(CHOICE, frames=frames))


def test_a_file_that_is_no_video_is_said(projector, tmp_path):
    (tmp_path / "notes.mp4").write_text("nothing to see")
    with pytest.raises(intp_video.VideoError, match=r"notes\.mp4"):
        projector.show(str(tmp_path / "notes.mp4"), CHOICE)
