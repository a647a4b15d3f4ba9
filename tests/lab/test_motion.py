"""The motion task: frozen worlds, answers right by geometry, nothing to be had from one frame."""

import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from intp_video.lab.evaluation import read_questions
from intp_video.lab.motion import (
    DIRECTIONS,
    GUESS_RATE,
    HELD_OUT_SEEDS,
    KINDS,
    draw_moves,
    held_out_moves,
    sample_moves,
    write_questions,
)
from intp_video.lab.motion.questions import all_questions
from intp_video.lab.motion.videos import motion_training_rng
from intp_video.lab.shapes import COLORS
from intp_video.lab.training.motion.batches import make_clips
from intp_video.video import read_video

LENGTHS = [1 / 2, 1 / 8]
COLOR_NAMES = list(COLORS)


def centres(frames: int) -> np.ndarray:
    return (np.arange(frames) + 0.5) / frames


def shifts(world, frames: int) -> np.ndarray:
    """float64 ``[frames - 1, 2, 2]``: how each shape gets from one frame to the next."""
    return (np.diff(world.centres(centres(frames))[0], axis=0) + 0.5) % 1 - 0.5


@pytest.mark.parametrize(
    ("move_length", "digest"), [(1 / 2, "b97dfda32df8c8d8"), (1 / 8, "a076ee8b65e0fb88")]
)
def test_held_out_worlds_are_frozen(move_length, digest):
    """Accuracy is comparable only over the same worlds and questions."""
    said = []
    for seed in HELD_OUT_SEEDS[:40]:
        world, questions = held_out_moves(seed, move_length)
        said.append([[q.kind, q.text, q.answer, *q.options] for q in questions])
        said.append(np.round(world.centres(centres(8)), 9).tolist())
        said.append(np.round(world.radius, 9).tolist())
    assert hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] == digest


def test_drawing_is_frozen():
    means = [draw_moves(held_out_moves(seed, 1 / 2)[0], centres(8), 24).mean() for seed in range(4)]
    assert means == pytest.approx([45.17, 48.47, 61.88, 28.95], abs=0.02)


@pytest.mark.parametrize("move_length", LENGTHS)
def test_answers_are_those_of_the_geometry(move_length):
    """By watching 512 frames alone: where each color goes, how far, and when it begins."""
    for seed in HELD_OUT_SEEDS[:150]:
        world, questions = held_out_moves(seed, move_length)
        moved = shifts(world, 512)
        gone = moved.sum(axis=0)  # [2, 2]
        far = np.abs(gone).sum(axis=-1)
        begins = (np.abs(moved).sum(axis=-1) > 0).argmax(axis=0)
        slot_of = {COLOR_NAMES[color]: slot for slot, color in enumerate(world.color[0])}
        assert len(slot_of) == 2 and [q.kind for q in questions] == [
            *("direction", "direction", "speed", "order")
        ]
        for question in questions:
            if question.kind == "direction":
                way = DIRECTIONS[question.answer]
                slot = slot_of[question.text.split()[4]]
                assert gone[slot] @ way == pytest.approx(far[slot])
                continue
            word = question.text.split()[-1].rstrip("?")
            best = {
                "faster": far.argmax(),
                "slower": far.argmin(),
                "first": begins.argmin(),
                "last": begins.argmax(),
            }[word]
            assert slot_of[question.answer] == best
            assert set(question.options) == set(slot_of)
        assert far.max() > 1.7 * far.min() and abs(begins[0] - begins[1]) > 512 * move_length / 4


@pytest.mark.parametrize("move_length", LENGTHS)
def test_the_moves_overlap_in_time_and_lie_inside_the_video(move_length):
    for seed in HELD_OUT_SEEDS[:150]:
        start = held_out_moves(seed, move_length)[0].start[0]
        assert start.min() >= 0 and start.max() + move_length <= 1
        assert np.ptp(start) <= move_length


@pytest.mark.parametrize("move_length", LENGTHS)
def test_every_answer_of_a_kind_is_as_likely_as_the_others(move_length):
    counted = {kind: Counter() for kind in KINDS}
    for seed in HELD_OUT_SEEDS:
        for question in held_out_moves(seed, move_length)[1]:
            options = question.options
            assert question.answer in options and len(options) == round(
                1 / GUESS_RATE[question.kind]
            )
            counted[question.kind][options.index(question.answer)] += 1
    for kind, answers in counted.items():
        asked, expected = answers.total(), GUESS_RATE[kind]
        spread = 4 * (expected * (1 - expected) / asked) ** 0.5
        assert all(abs(n / asked - expected) < spread for n in answers.values()), kind


def test_one_frame_says_nothing():
    """Where a shape stands, in halves of the frame, is independent of every answer, at any time."""
    worlds = sample_moves(np.random.default_rng(0), 20_000, shortest=1 / 2, longest=1 / 2)
    answers = {
        "direction": worlds.direction[:, 0],
        "speed": worlds.distance.argmax(axis=1),
        "order": worlds.start.argmin(axis=1),
    }
    for time in (0.05, 0.3, 0.5, 0.95):
        halves = (worlds.centres(np.array([time]))[:, 0] >= 0.5).reshape(-1, 4)
        place = halves @ (1, 2, 4, 8)  # of both shapes together: 16 places
        for kind, answer in answers.items():
            for value in range(round(1 / GUESS_RATE[kind])):
                share = np.bincount(place[answer == value], minlength=16) / (answer == value).sum()
                assert np.abs(share - 1 / 16).max() < 0.015, (kind, time)


def test_a_shape_that_leaves_comes_back_on_the_other_side():
    world, _ = held_out_moves(3, 1 / 2)
    world.place[0, 0] = 0.02, 0.5
    frame = draw_moves(world, np.array([0.0]), 48)[0, 0]
    color = np.array(list(COLORS.values())[world.color[0, 0]])
    seen = (np.abs(frame - color) < 60).all(axis=-1).any(axis=0)
    assert seen[0] and seen[-1] and not seen[24]


def test_centres_have_their_colors():
    """Of the shape in front; a ring has a hole there."""
    for seed in range(40):
        world, _ = held_out_moves(seed, 1 / 2)
        frames = draw_moves(world, centres(8), 96)[0]
        for frame, (x, y) in enumerate(world.centres(centres(8))[0, :, 1]):
            if world.shape[0, 1] != 4:
                color = list(COLORS.values())[world.color[0, 1]]
                assert np.abs(frames[frame, int(y * 96), int(x * 96)] - color).max() < 1


def test_nothing_is_shared_with_training():
    world, _ = held_out_moves(0, 1 / 2)
    for step in range(20):
        trained = sample_moves(motion_training_rng(0, step), 1, shortest=1 / 2, longest=1 / 2)
        assert not np.isin(trained.place, world.place).any()


def test_training_asks_every_question_of_what_moves():
    worlds = sample_moves(np.random.default_rng(1), 200, shortest=0.5, longest=0.5, resting=0.5)
    for world in range(200):
        moving = int((worlds.distance[world] > 0).sum())
        asked = Counter(question.kind for question in all_questions(worlds, world))
        both = moving == 2
        assert asked == Counter({"direction": moving, "speed": 2 * both, "order": 2 * both})
    assert 0.35 < np.mean((worlds.distance == 0).any(axis=1)) < 0.65


def test_labels_say_what_each_patch_holds():
    clips = make_clips(0, 5, 60)
    at = (np.arange(8) + 0.5) / 8
    where = (clips.worlds.centres(at) * 3).astype(int)
    for world in range(60):
        for frame in range(8):
            column, line = where[world, frame, 1]  # of the shape in front
            patch = 3 * line + column
            told = {name: int(label[world, frame, patch]) for name, label in clips.labels.items()}
            moves = clips.worlds.distance[world] > 0
            begin, length = clips.worlds.start[world, 1], clips.worlds.length[world]
            phase = 1 + int(at[frame] > begin) + int(at[frame] >= begin + length)
            last = clips.worlds.start[world, 1] > clips.worlds.start[world, 0]
            assert told == {
                "color": 1 + clips.worlds.color[world, 1],
                "direction": 2 + clips.worlds.direction[world, 1] if moves[1] else 1,
                "speed": 2 + (clips.worlds.distance[world, 1] > 0.4) if moves[1] else 1,
                "phase": phase,
                "order": 2 + last if moves.all() else 1,
            }
    assert ((clips.labels["color"] > 0).sum(axis=-1) <= 2).all()


def test_files_show_what_the_world_says(tmp_path):
    path = write_questions(tmp_path / "a", range(5, 7), 1 / 2)
    again = write_questions(tmp_path / "b", range(5, 7), 1 / 2)
    assert path.read_bytes() == again.read_bytes()
    assert [p.name for p in sorted(path.parent.glob("*.mp4"))] == [
        "motion-2-005.mp4",
        "motion-2-006.mp4",
    ]
    questions, bad = read_questions(path)
    assert not bad and len(questions) == 8 and {q.kind for q in questions} == set(KINDS)
    world, asked = held_out_moves(5, 1 / 2)
    assert [q.answer for q in questions[:4]] == [q.answer for q in asked]
    clip = read_video(questions[0].video, 8)
    assert np.abs(clip.frames - draw_moves(world, centres(8), 64)[0]).mean() < 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: held_out_moves(1000, 1 / 2), "seed: expected 0 to 999"),
        (lambda: held_out_moves(0, 1), "shortest <= longest <= 3/4, got 1"),
        (
            lambda: sample_moves(np.random.default_rng(0), 1, shortest=0.5, longest=0.5, resting=2),
            "resting: expected 0 to 1, got 2",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
