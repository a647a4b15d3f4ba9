"""Intervals against formulas that everybody knows, and against chance itself."""

import numpy as np
import pytest
from intp_video.lab.evaluation.statistics import accuracy, difference


def test_one_question_a_video_is_the_textbook():
    """76 right of 100: Wilson's interval, a hair wider for the n - 1 below the variance."""
    right = {str(i): [1.0 if i < 76 else 0.0] for i in range(100)}
    found = accuracy(right)
    assert (found.mean, found.questions, found.videos) == (0.76, 100, 100)
    assert (found.low, found.high) == pytest.approx((0.6677, 0.8331), abs=0.002)


def test_repeating_a_question_adds_nothing():
    once = {str(i): [float(i % 3 == 0)] for i in range(60)}
    often = {video: values * 7 for video, values in once.items()}
    for function in (accuracy, difference):
        one, many = function(once), function(often)
        assert (one.mean, one.low, one.high) == pytest.approx((many.mean, many.low, many.high))
        assert many.questions == 7 * one.questions


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_none_right_is_no_certainty(value):
    found = accuracy({str(i): [value] * 3 for i in range(20)})
    assert found.mean == value and 0.1 < found.high - found.low < 0.2  # 3.84 / (20 + 3.84)


def test_one_video_says_nothing_of_others():
    found = difference({"a": [1.0, 0.0, 1.0]})
    assert (found.low, found.high) == (-1.0, 1.0)
    found = accuracy({"a": [1.0, 0.0]})
    assert found.low < 0.1 and found.high > 0.9


def test_no_values():
    with pytest.raises(ValueError, match="expected some values"):
        accuracy({"a": []})


def test_95_of_100_intervals_hold_the_truth():
    """Questions of one video succeed or fail together; the paired difference knows it."""
    rng = np.random.default_rng(0)
    hit = {"accuracy": 0, "difference": 0}
    for _ in range(400):
        easy = rng.uniform(0.2, 1.0, 60)  # of each video; 0.6 on average
        one = {str(i): (rng.random(5) < p).astype(float).tolist() for i, p in enumerate(easy)}
        other = {
            str(i): (rng.random(5) < p - 0.1).astype(float).tolist() for i, p in enumerate(easy)
        }
        pairs = {v: [a - b for a, b in zip(one[v], other[v], strict=True)] for v in one}
        found = accuracy(one)
        hit["accuracy"] += found.low <= 0.6 <= found.high
        found = difference(pairs)
        hit["difference"] += found.low <= 0.1 <= found.high
    assert all(365 <= count <= 395 for count in hit.values()), hit
