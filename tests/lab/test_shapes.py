"""The shapes task: frozen worlds, honest answers, files that show what the world says."""

import hashlib
import json

import numpy as np
import pytest
from intp_video.lab.shapes import (
    COLORS,
    GUESS_RATE,
    HELD_OUT_SEEDS,
    KINDS,
    SHAPES,
    draw,
    held_out_world,
    observer_accuracy,
    sample_worlds,
    write_world,
)
from intp_video.lab.shapes.videos import training_rng
from intp_video.video import read_video

SEEDS = HELD_OUT_SEEDS[:120]


def centres(frames: int) -> np.ndarray:
    return (np.arange(frames) + 0.5) / frames


@pytest.mark.parametrize(
    ("event_length", "digest"),
    [(1 / 8, "a539dd6aa5f361a7"), (1 / 32, "6f505f03593c9ab7"), (1 / 64, "1c392fd7634bd6f9")],
)
def test_held_out_worlds_are_frozen(event_length, digest):
    """Accuracy is comparable only over the same worlds and questions."""
    said = []
    for seed in HELD_OUT_SEEDS[:40]:
        world, questions = held_out_world(seed, event_length)
        said.append([question.text + question.answer for question in questions])
        said.append([round(float(number), 9) for number in world.start[0]])
        said.append(np.round(world.path, 9).tolist())
    assert hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] == digest


def test_drawing_is_frozen():
    means = [draw(held_out_world(seed, 1 / 8)[0], centres(8), 24).mean() for seed in range(4)]
    assert means == pytest.approx([40.41, 47.9, 44.24, 57.95], abs=0.02)


def test_another_seed_is_another_world():
    (first, _), (second, _) = (held_out_world(seed, 1 / 8) for seed in (0, 1))
    assert not np.isin(second.path, first.path).any()


def test_events_are_drawn_exactly_while_the_world_says_so():
    world, _ = held_out_world(5, 1 / 8)
    times = centres(64)
    frames = draw(world, times, 64)[0]
    for slot in range(world.count[0]):
        color = np.array(list(COLORS.values())[world.color[0, slot]])
        drawn = (np.abs(frames - color) < 1).all(axis=-1).any(axis=(1, 2))
        assert drawn.tolist() == world.visible(times)[0, :, slot].tolist()


def test_nothing_is_shared_with_training():
    world, _ = held_out_world(0, 1 / 8)
    for step in range(20):
        trained = sample_worlds(training_rng(0, step), 1, shortest=1 / 8, longest=1 / 8)
        assert not np.isin(trained.path, world.path).any()


def test_every_answer_of_a_kind_is_as_likely_as_the_others():
    counted = {kind: {} for kind in KINDS}
    for seed in HELD_OUT_SEEDS:
        for question in held_out_world(seed, 1 / 32)[1]:
            assert question.answer in question.options
            answers = counted[question.kind]
            answers[question.answer] = answers.get(question.answer, 0) + 1
    for kind, answers in counted.items():
        asked, expected = sum(answers.values()), GUESS_RATE[kind]
        assert len(answers) == round(1 / expected)
        spread = 4 * (expected * (1 - expected) / asked) ** 0.5
        assert all(abs(n / asked - expected) < spread for n in answers.values()), kind


@pytest.mark.parametrize("event_length", [1 / 8, 1 / 32])
def test_one_frame_sees_each_event_at_any_phase(event_length):
    for seed in SEEDS:
        world, _ = held_out_world(seed, event_length)
        seen = world.visible(centres(round(1 / event_length)))[0]
        assert seen.sum(axis=0).tolist() == [1] * world.count[0] + [0] * (4 - world.count[0])
        assert seen.sum(axis=1).max() == 1  # never two at once


def test_answers_are_those_of_somebody_who_watches_it_all():
    for seed in SEEDS:
        world, questions = held_out_world(seed, 1 / 32)
        assert all(observer_accuracy(world, 0, q, centres(1024)) == 1 for q in questions)
        few = [observer_accuracy(world, 0, q, centres(1)) for q in questions]
        assert 0 <= min(few) <= max(few) <= 1 and sum(few) < len(few)


def test_a_file_shows_what_the_world_says(tmp_path):
    world, _ = held_out_world(5, 1 / 8)
    write_world(tmp_path / "w.mp4", world, frames=64, size=64)
    write_world(tmp_path / "again.mp4", world, frames=64, size=64)
    assert (tmp_path / "w.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()
    clip = read_video(tmp_path / "w.mp4", 64)
    drawn = draw(world, centres(64), 64)[0]
    assert np.abs(clip.frames - drawn).mean() < 6
    for times, slot in zip(*world.visible(centres(64))[0].nonzero(), strict=True):
        color = np.array(list(COLORS.values())[world.color[0, slot]])
        close = (np.abs(clip.frames[times] - color).max(axis=-1) < 60).mean()
        assert close > 0.03, (times, SHAPES[world.shape[0, slot]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: held_out_world(1000, 1 / 8), "seed: expected 0 to 999"),
        (lambda path: held_out_world(0, 1 / 2), "shortest <= longest <= 1/4"),
        (lambda path: sample_worlds(training_rng(0, 0), 1, shortest=0, longest=0.1), "0 < short"),
        (
            lambda path: sample_worlds(
                training_rng(0, 0), 1, shortest=0.1, longest=0.1, counts=(5,)
            ),
            "counts: expected numbers from 0 to 4",
        ),
        (lambda path: write_world(path, held_out_world(0, 1 / 8)[0], size=33), "an even size"),
        (lambda path: write_world(path, held_out_world(0, 1 / 8)[0], size=8), "size: expected"),
        (lambda path: write_world(path, held_out_world(0, 1 / 8)[0], fps=0), "fps: expected"),
        (lambda path: write_world(path, held_out_world(0, 1 / 8)[0], frames=0), "frames: expected"),
    ],
)
def test_bad_arguments(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "w.mp4")
    assert not list(tmp_path.iterdir())
