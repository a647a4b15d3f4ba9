"""The training script: batches that say what prompts say, and runs that can be interrupted."""

import json

import pytest
import torch
from intp_video.errors import ModelError
from intp_video.lab.model_directory import EOS
from intp_video.lab.shapes import KINDS
from intp_video.lab.shapes.questions import all_questions
from intp_video.lab.training import run
from intp_video.lab.training import train as training
from intp_video.lab.training.batches import NOTHING, make_clips, pack_questions
from intp_video.lab.training.recipe import TRAINED_CONTEXT, untrained_model, write_directory
from intp_video.lab.training.train import Recipe, train
from intp_video.preparation import Preparer

RECIPE = Recipe(seed=3, tower_steps=3, answer_steps=4, clips=2)


@pytest.fixture(scope="module")
def model():
    return untrained_model(seed=0).eval()


@torch.no_grad()
def test_packed_questions_are_answered_as_each_alone(model, tmp_path):
    """One sequence with all questions gives the logits of one prompt per question, as `prepare`
    writes it."""
    write_directory(tmp_path, model)
    preparer = Preparer.from_pretrained(tmp_path)
    clips = make_clips(0, 7, 3)
    batch = pack_questions(clips)
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        pixel_values_videos=clips.pixels,
    ).last_hidden_state
    logits = model.lm_head(hidden[batch.row, batch.place])
    asked = [
        (world, question) for world in range(3) for question in all_questions(clips.worlds, world)
    ]
    assert len(batch.token) == 2 * len(asked)
    for i, (world, question) in enumerate(asked):
        prompt = preparer.prompt_ids(question.text, 8)
        answer = preparer.tokenizer(question.answer).input_ids[1:]
        ids = torch.cat((prompt, torch.tensor([answer])), dim=1)
        assert ids.shape[1] < TRAINED_CONTEXT
        alone = model(input_ids=ids, pixel_values_videos=clips.pixels[world : world + 1]).logits
        torch.testing.assert_close(logits[2 * i : 2 * i + 2], alone[0, -2:], rtol=1e-4, atol=1e-5)
        assert batch.token[2 * i : 2 * i + 2].tolist() == [*answer, EOS]
        assert batch.kind[2 * i : 2 * i + 2].tolist() == [KINDS.index(question.kind), -1]
    assert int(batch.position_ids.max()) < TRAINED_CONTEXT


def test_labels_say_what_is_on_each_frame():
    clips = make_clips(0, 1, 40)
    assert clips.pixels.shape == (40, 8, 3, 24, 24)
    assert ((clips.shape == NOTHING) == (clips.color == NOTHING)).all()
    for world in range(40):
        slots = clips.worlds.order(world)
        expected = clips.worlds.shape[world, slots].tolist()
        seen = [s for s in clips.shape[world].tolist() if s != NOTHING]
        assert list(dict.fromkeys(seen)) == expected  # each at least once, in order


def test_pixels_are_those_that_the_preparer_makes(model, tmp_path):
    write_directory(tmp_path, model)
    preparer = Preparer.from_pretrained(tmp_path)
    clips = make_clips(0, 2, 4)
    from intp_video.lab.shapes import draw
    from intp_video.lab.training.batches import _TIMES

    frames = draw(clips.worlds[:1], _TIMES, 24)[0].round().astype("uint8")
    made = preparer.frame_processor(frames)
    assert (made - clips.pixels[0]).abs().mean() < 0.1  # the noise


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    train(tmp_path / "whole", RECIPE, quiet=True)
    answer = training._Run.answer_loss
    left = 2

    def interrupt(self, *given):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return answer(self, *given)

    monkeypatch.setattr(training._Run, "answer_loss", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", RECIPE, save_every=2, quiet=True)
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    monkeypatch.setattr(training._Run, "answer_loss", answer)
    train(tmp_path / "parts", RECIPE, save_every=2, quiet=True)
    whole, parts = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("whole", "parts")
    )
    assert (whole["stage"], whole["step"]) == (parts["stage"], parts["step"]) == ("answers", 4)
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(parts["model"][name], tensor, rtol=1e-3, atol=1e-4)
    with pytest.raises(ModelError, match="checkpoint of another recipe"):
        train(tmp_path / "parts", Recipe(seed=4), quiet=True)


def test_each_stage_trains_its_own_part(tmp_path):
    before = untrained_model(RECIPE.seed).state_dict()
    tower = "model.video_tower.encoder"
    train(tmp_path / "a", Recipe(seed=3, tower_steps=2, answer_steps=0, clips=2), quiet=True)
    seen = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["model"]
    train(
        tmp_path / "b",
        Recipe(seed=3, tower_steps=0, answer_steps=2, clips=2),
        init_from=tmp_path / "a",
        quiet=True,
    )
    said = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)["model"]
    for name in before:
        assert torch.equal(seen[name], said[name]) == name.startswith("model.video_tower"), name
        if not name.startswith(tower):
            continue
        assert not torch.equal(before[name], seen[name]) or "k_proj.bias" in name, name


def test_the_log_says_how_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LOG_EVERY", 2)
    train(tmp_path, Recipe(tower_steps=2, answer_steps=2, clips=1), quiet=True)
    tower, answers = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (tower["stage"], tower["step"]) == ("tower", 2) and 0 <= tower["color"] <= 1
    assert answers["stage"] == "answers" and {*KINDS, "loss", "rate"} <= answers.keys()
