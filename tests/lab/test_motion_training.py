"""Training on the motion task: end to end, and what comes out is a model like any other."""

import json

import intp_video
import torch
from intp_video.lab.motion.questions import all_questions
from intp_video.lab.training import run
from intp_video.lab.training.motion.batches import make_clips, pack_questions
from intp_video.lab.training.motion.recipe import (
    TRAINED_CONTEXT,
    untrained_model,
    write_directory,
)
from intp_video.lab.training.motion.train import Recipe, train
from intp_video.preparation import Preparer


@torch.no_grad()
def test_packed_questions_are_answered_as_each_alone(tmp_path):
    model = untrained_model(seed=0).eval()
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
    asked = [(w, question) for w in range(3) for question in all_questions(clips.worlds, w)]
    assert len(batch.token) == 2 * len(asked)
    for i, (world, question) in enumerate(asked):
        prompt = preparer.prompt_ids(question.text, 8)
        answer = preparer.tokenizer(question.answer).input_ids[1:]
        ids = torch.cat((prompt, torch.tensor([answer])), dim=1)
        assert ids.shape[1] < TRAINED_CONTEXT and batch.token[2 * i] == answer[0]
        alone = model(input_ids=ids, pixel_values_videos=clips.pixels[world : world + 1]).logits
        torch.testing.assert_close(logits[2 * i : 2 * i + 2], alone[0, -2:], rtol=1e-4, atol=1e-5)


def test_every_part_is_trained_the_attention_over_time_too(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LOG_EVERY", 2)
    before = untrained_model(3).state_dict()
    train(tmp_path, Recipe(seed=3, steps=2, clips=4), quiet=True)
    model, preparer = intp_video.load(tmp_path)
    for name, tensor in model.state_dict().items():
        # softmax does not see a constant added to all keys, and images have no head on their output
        untouched = "k_proj.bias" in name or "post_layernorm" in name
        assert untouched or not torch.equal(tensor, before[name]), name
    assert preparer.frames_per_group == 8
    (line,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert line["stage"] == "together" and line["step"] == 2
    assert {"direction", "speed", "order", "answers", "sees direction"} <= line.keys()


def test_the_gradient_of_the_answers_reaches_the_attention_over_time():
    model = untrained_model(0)
    clips = make_clips(0, 0, 2)
    batch = pack_questions(clips)
    hidden = model.model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=batch.attention_mask,
        pixel_values_videos=clips.pixels,
    ).last_hidden_state
    logits = model.lm_head(hidden[batch.row, batch.place])
    torch.nn.functional.cross_entropy(logits, batch.token).backward()
    for layer in model.model.video_tower.encoder.layers:
        assert layer.temporal_attn.v_proj.weight.grad.abs().max() > 0
        assert layer.temporal_embedding.grad.abs().max() > 0
