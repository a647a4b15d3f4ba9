"""Held-out moves, and their videos and questions as files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from ...video.writer import write_video
from ..shapes.questions import Question
from .drawing import draw_moves
from .questions import questions_of
from .worlds import Moves, sample_moves

HELD_OUT_SEEDS = range(1000)
"""Seeds of the worlds that a model is tested on."""

_HELD_OUT, _TRAINING = 3, 4  # the first word of every seed; the shapes task has 1 and 2
_FRAMES, _FPS, _SIZE = 256, 8, 64  # of a file; frame i shows the time (i + 1/2) / 256


def held_out_moves(seed: int, move_length: float) -> tuple[Moves, list[Question]]:
    """One world to test with, and its questions.

    Args:
        seed: one of ``HELD_OUT_SEEDS``.
        move_length: how much of the video a move lasts: 1/2 as in short clips, 1/8.

    Raises:
        ValueError: another seed, or a length beyond 3/4.
    """
    if seed not in HELD_OUT_SEEDS:
        raise ValueError(f"held_out_moves: seed: expected 0 to 999, got {seed!r}")
    rng = np.random.default_rng([_HELD_OUT, round(1 / move_length), seed])
    world = sample_moves(rng, 1, shortest=move_length, longest=move_length)
    return world, questions_of(world, 0, rng)


def motion_training_rng(seed: int, step: int) -> np.random.Generator:
    """Chance for one step of training, never that of a held-out world."""
    return np.random.default_rng([_TRAINING, seed, step])


def write_questions(folder: str | os.PathLike, seeds: range, move_length: float) -> Path:
    """Writes held-out worlds as video files, and ``questions.jsonl`` as ``intp-video eval`` reads
    it. Videos that are there already are kept.

    Returns:
        The path of the question file.

    Raises:
        ValueError: as :func:`held_out_moves`.
        VideoError: PyAV is not installed.
        OSError: a file cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for seed in seeds:
        world, questions = held_out_moves(seed, move_length)
        path = folder / f"motion-{round(1 / move_length)}-{seed:03d}.mp4"
        if not path.exists():
            draft = path.with_name(f"part-{path.name}")
            _write_video(draft, world)
            draft.replace(path)
        lines += [
            {
                "id": f"{seed}-{number}",
                "video": path.name,
                "question": question.text,
                "answer": question.answer,
                "options": question.options,
                "kind": question.kind,
            }
            for number, question in enumerate(questions)
        ]
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _write_video(path: Path, world: Moves) -> None:
    frames = draw_moves(world, (np.arange(_FRAMES) + 0.5) / _FRAMES, _SIZE)[0]
    images = (np.round(frame).astype(np.uint8) for frame in frames)
    write_video(path, images, fps=_FPS, size=(_SIZE, _SIZE), keyframe_every=2 * _FPS)
