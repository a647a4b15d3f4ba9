"""Accuracies and their differences, with 95% intervals over the same videos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

Z = 1.959964  # two-sided 95%


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95% interval, and over how much: questions, and the videos they are about."""

    mean: float
    low: float
    high: float
    questions: int
    videos: int


def accuracy(right: Mapping[str, list[float]]) -> Estimate:
    """How often the answer was right: a Wilson interval over as many independent questions as the
    spread between videos is worth.

    Questions about one video are not independent; videos are. With variance v of the mean (see
    :func:`difference`) they are worth ``p (1 - p) / v`` independent ones, or as many as there are
    videos where all or none are right.

    Args:
        right: by video, 1 or 0 for each question.

    Raises:
        ValueError: no values.
    """
    mean, variance, questions, videos = _clustered(right)
    worth = mean * (1 - mean) / variance if variance > 0 else float(videos)
    middle = (mean + Z * Z / (2 * worth)) / (1 + Z * Z / worth)
    half = Z * math.sqrt(mean * (1 - mean) / worth + Z * Z / (4 * worth * worth))
    half /= 1 + Z * Z / worth
    return Estimate(mean, max(0.0, middle - half), min(1.0, middle + half), questions, videos)


def difference(pairs: Mapping[str, list[float]]) -> Estimate:
    """A paired difference: the mean over all questions, each video a cluster, normal interval.

    The variance is ``sum_v (sum of (x - mean) over v)^2 / n^2``, times ``V / (V - 1)`` for V
    videos. One video says nothing of others: the interval is then everything.

    Args:
        pairs: by video, ``right in one arm - right in the other`` for each question.

    Raises:
        ValueError: no values.
    """
    return average(pairs, -1.0, 1.0)


def average(values: Mapping[str, list[float]], least: float, most: float) -> Estimate:
    """Of a quantity that lies between ``least`` and ``most``; otherwise as :func:`difference`."""
    mean, variance, questions, videos = _clustered(values)
    if videos < 2:
        return Estimate(mean, least, most, questions, videos)
    half = Z * math.sqrt(variance)
    return Estimate(mean, max(least, mean - half), min(most, mean + half), questions, videos)


def _clustered(values: Mapping[str, list[float]]) -> tuple[float, float, int, int]:
    """Mean, its variance, questions, videos."""
    clusters = [of_video for of_video in values.values() if of_video]
    questions, videos = sum(map(len, clusters)), len(clusters)
    if not questions:
        raise ValueError("expected some values, got none")
    mean = sum(map(sum, clusters)) / questions
    spread = sum((sum(v) - len(v) * mean) ** 2 for v in clusters)
    scale = videos / (videos - 1) if videos > 1 else 0.0
    return mean, spread * scale / questions**2, questions, videos
