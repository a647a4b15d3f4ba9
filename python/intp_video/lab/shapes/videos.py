"""Held-out worlds, and worlds as video files."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ...sampling import check_frames
from ...video.writer import write_video
from .drawing import draw
from .questions import Question, questions_of
from .worlds import Worlds, sample_worlds

HELD_OUT_SEEDS = range(1000)
"""Seeds of the worlds that a model is tested on."""

_HELD_OUT, _TRAINING = 1, 2  # the first word of every seed: no generator serves both
_CHUNK = 64  # frames drawn at once


def held_out_world(seed: int, event_length: float) -> tuple[Worlds, list[Question]]:
    """One world to test with, and its questions.

    Args:
        seed: one of ``HELD_OUT_SEEDS``.
        event_length: how much of the video an event lasts: 1/8 for short clips, 1/32, 1/64.

    Raises:
        ValueError: another seed, or a length beyond 1/4.
    """
    if seed not in HELD_OUT_SEEDS:
        raise ValueError(f"held_out_world: seed: expected 0 to 999, got {seed!r}")
    rng = np.random.default_rng([_HELD_OUT, round(1 / event_length), seed])
    world = sample_worlds(rng, 1, shortest=event_length, longest=event_length)
    return world, questions_of(world, 0, rng)


def training_rng(seed: int, step: int) -> np.random.Generator:
    """Chance for one step of training, never that of a held-out world."""
    return np.random.default_rng([_TRAINING, seed, step])


def write_world(
    path: str | os.PathLike, worlds: Worlds, *, frames: int = 512, fps: int = 8, size: int = 64
) -> None:
    """Writes one world as a video file (H.264; the suffix of ``path`` chooses the container).

    Args:
        worlds: one world.
        frames: of the whole video; frame i shows the time ``(i + 1/2) / frames``.
        fps: frames a second.
        size: side in pixels, even.

    Raises:
        TypeError, ValueError: an argument out of range.
        VideoError: PyAV is not installed.
        OSError: the file cannot be written.
    """
    frames = check_frames(frames, function="write_world")
    fps = check_frames(fps, function="write_world", name="fps")
    size = check_frames(size, function="write_world", name="size", least=16)
    if len(worlds) != 1 or size % 2:
        raise ValueError(
            f"write_world: expected one world and an even size, got {len(worlds)} and {size}"
        )
    images = _images(worlds, (np.arange(frames) + 0.5) / frames, size)
    write_video(path, images, fps=fps, size=(size, size), keyframe_every=2 * fps)


def _images(worlds: Worlds, times: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(times), _CHUNK):
        for image in draw(worlds, times[begin : begin + _CHUNK], size)[0]:
            yield np.round(image).astype(np.uint8)
