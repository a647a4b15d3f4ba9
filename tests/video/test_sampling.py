"""Uniform sampling at segment centers, and whole groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intp_video.sampling import (
    MAX_FRAMES,
    repeat_to_groups,
    round_up_to_groups,
    sample_ends,
    sample_indices,
    sample_times,
)

counts = st.integers(1, 10_000_000)
frame_numbers = st.integers(1, 500)


def test_the_pictures_of_the_docstring():
    assert sample_indices(12, 4).tolist() == [1, 4, 7, 10]
    assert sample_ends(12, 4).tolist() == [0, 3, 7, 11]


@given(counts, frame_numbers)
def test_ends_are_those_of_the_original(count, frames):
    indices = sample_ends(count, frames)
    assert indices.tolist() == np.linspace(0, count - 1, frames, dtype=int).tolist()
    assert indices.dtype == np.int64 and indices[0] == 0
    assert frames == 1 or indices[-1] == count - 1


def test_ends_need_a_frame():
    with pytest.raises(ValueError, match="sample_ends: count: expected at least 1, got 0"):
        sample_ends(0, 8)


@given(counts, frame_numbers)
def test_indices_are_the_middles_of_equal_segments(count, frames):
    indices = sample_indices(count, frames)
    assert indices.dtype == np.int64 and indices.shape == (frames,)
    # The center of segment i, in frames, lies inside the frame that is taken.
    centers = [(2 * i + 1) * count for i in range(frames)]  # over 2 * frames
    assert all(
        index * 2 * frames <= center < (index + 1) * 2 * frames
        for index, center in zip(indices.tolist(), centers, strict=True)
    )


@given(counts, frame_numbers)
def test_frames_repeat_only_when_there_are_too_few(count, frames):
    distinct = len(set(sample_indices(count, frames).tolist()))
    assert distinct == min(count, frames)


def test_times_match_indices():
    np.testing.assert_array_equal(np.floor(sample_times(31.0, 8)), sample_indices(31, 8))


@given(frame_numbers, st.integers(1, 32))
def test_whole_groups_drop_no_frame(frames, per_group):
    total = round_up_to_groups(frames, per_group)
    assert total % per_group == 0 and frames <= total < frames + per_group
    positions = repeat_to_groups(frames, per_group)
    assert len(positions) == total
    assert set(positions.tolist()) == set(range(frames))
    assert (np.diff(positions) >= 0).all()


@pytest.mark.parametrize("frames", [0, -1, 10**9, MAX_FRAMES + 1])
def test_absurd_numbers_of_frames(frames):
    with pytest.raises(ValueError, match=r"sample_indices: frames: expected 1 to 100,000"):
        sample_indices(100, frames)


@pytest.mark.parametrize("frames", [True, 8.0, "8", None])
def test_frames_must_be_an_int(frames):
    with pytest.raises(TypeError, match="frames: expected an int, got"):
        sample_indices(100, frames)


def test_numpy_integers_are_integers():
    assert len(sample_indices(np.int64(5), np.int32(3))) == 3


@pytest.mark.parametrize("duration", [-1.0, float("nan"), float("inf")])
def test_durations_must_be_finite(duration):
    with pytest.raises(ValueError, match="duration must be finite"):
        sample_times(duration, 8)
