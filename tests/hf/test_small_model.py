"""The trained model of the package: right and wrong answers, told apart."""

import intp_video
import intp_video.hook.attention
import pytest
import torch
from intp_video.lab.evaluation import Arm, VideoQuestion, is_right
from intp_video.lab.evaluation.run import ask_all
from intp_video.lab.shapes import held_out_world, write_world
from intp_video.lab.training.recipe import TRAINED_CONTEXT, config
from intp_video.sampling import sample_indices
from intp_video.video import read_video

import intp_ext

SEEDS, FRAMES = range(12), 512


@pytest.fixture(scope="module")
def loaded():
    return intp_video.load(intp_video.SMALL_MODEL)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Path, world and questions of twelve held-out videos whose events last 1/32."""
    folder = tmp_path_factory.mktemp("worlds")
    found = []
    for seed in SEEDS:
        world, questions = held_out_world(seed, 1 / 32)
        path = folder / f"{seed}.mp4"
        write_world(path, world, frames=FRAMES)
        found.append((path, world, questions))
    return found


def right(loaded, path, questions, arm):
    asked = [
        VideoQuestion(str(i), str(path), q.text, q.answer, q.options)
        for i, q in enumerate(questions)
    ]
    clip = read_video(path, arm.frames)
    said = ask_all(*loaded, clip, asked, arm, max_new_tokens=4, show_options=False)
    return [is_right(p.said, q.answer, q.options) for p, q in zip(said, asked, strict=True)]


def test_it_is_what_the_training_script_makes(loaded):
    model, preparer = loaded
    assert model.config.text_config.max_position_embeddings == TRAINED_CONTEXT
    assert model.config.vision_config.num_frames == preparer.frames_per_group == 8
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total * 4 < 12e6 and model.dtype == torch.float32
    written = config()
    for part in ("vision_config", "text_config"):
        held = getattr(model.config, part)
        assert all(
            getattr(held, name) == value
            for name, value in written[part].items()
            if name not in ("model_type", "rope_theta")
        )


def test_it_answers_short_clips(loaded, tmp_path):
    good = []
    for seed in SEEDS:
        world, questions = held_out_world(seed, 1 / 8)
        write_world(tmp_path / "clip.mp4", world, frames=64)
        good += right(loaded, tmp_path / "clip.mp4", questions, Arm("stock", 8))
    assert sum(good) / len(good) > 0.85


def test_it_is_right_at_64_frames_where_8_frames_miss_it(loaded, worlds):
    """Colors of shapes that are on none of the 8 frames."""
    few = (sample_indices(FRAMES, 8) + 0.5) / FRAMES
    missed, found = [], []
    for path, world, questions in worlds:
        seen = world.visible(few)[0].any(axis=0)
        asked = [q for q in questions if q.kind == "needle" and not seen[q.slot]]
        if asked:
            missed += right(loaded, path, asked, Arm("stock", 8))
            found += right(loaded, path, asked, Arm("intp", 64, "yarn"))
    assert len(missed) > 8
    assert sum(missed) / len(missed) < 0.45 < 0.85 < sum(found) / len(found)


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits[0, -1]


@pytest.fixture(scope="module")
def prompt(loaded, worlds):
    path, _, questions = worlds[0]
    text = next(q.text for q in questions if q.kind == "needle")
    return intp_video.prepare(loaded[1], path, text, 32)


@pytest.mark.parametrize(
    "path",
    [
        {"fused": False},
        {"rearrange": "attention"},
        {"fused": False, "rearrange": "attention"},
        {"groups_per_chunk": 4},
    ],
)
def test_every_path_gives_the_same_answer(loaded, prompt, path):
    model = loaded[0]
    with intp_video.extend(model, 32):
        expected = logits(model, prompt)
    with intp_video.extend(model, 32, **path):
        found = logits(model, prompt)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert found.argmax() == expected.argmax()


def test_the_kernels_and_their_definition_give_the_same_answer(loaded, prompt, monkeypatch):
    model = loaded[0]
    with intp_video.extend(model, 32):
        expected = logits(model, prompt)
    calls = []

    def definition(q, k, v, bounds, scale):
        calls.append(1)
        sizes = (bounds.size, bounds.block, bounds.sink)
        return intp_ext.reference.attention_core(q, k, v, bounds.rows, *sizes, scale)

    monkeypatch.setattr(intp_video.hook.attention, "attend", definition)
    with intp_video.extend(model, 32):
        found = logits(model, prompt)
    assert len(calls) == model.config.text_config.num_hidden_layers
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert found.argmax() == expected.argmax()


def test_a_clip_is_stretched_for_its_own_frames(loaded, worlds):
    """8 frames were trained: nothing has to be stretched for them."""
    path, _, questions = worlds[0]
    clip = intp_video.read_video(path, 8)
    answer = intp_video.ask(*loaded, clip, questions[0].text, max_new_tokens=2)
    assert (answer.frames, answer.factor) == (8, 1.0)
    assert intp_video.ask(*loaded, clip, questions[0].text, 64, max_new_tokens=2).factor > 1
