"""`make_random_model`: a directory that transformers loads."""

import hashlib
import json

import pytest
import torch
from intp_video.errors import ModelError
from intp_video.lab.random_model import SIZES, make_random_model


def digest(directory) -> str:
    return hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_random_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def loaded(tiny):
    from transformers import AutoTokenizer, VideoLlavaForConditionalGeneration

    model, info = VideoLlavaForConditionalGeneration.from_pretrained(tiny, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval(), AutoTokenizer.from_pretrained(tiny)


def test_every_weight_is_loaded_as_written(tiny, loaded):
    from safetensors.torch import load_file

    written = {
        name.replace("vision_model.", ""): t
        for name, t in load_file(tiny / "model.safetensors").items()
    }
    held = {n.replace("vision_model.", ""): p for n, p in loaded[0].named_parameters()}
    assert held.keys() == written.keys()
    for name, parameter in held.items():
        assert torch.equal(parameter.detach(), written[name]), name


def test_it_answers(loaded):
    model, tokenizer = loaded
    prompt = tokenizer.apply_chat_template(
        [
            {
                "role": "user",
                "content": [{"type": "video"}, {"type": "text", "text": "What happens?"}],
            }
        ],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert prompt == "USER: <video>\nWhat happens? ASSISTANT:"
    tokens = SIZES["tiny"].tokens_per_frame * 8
    inputs = tokenizer(prompt.replace("<video>", "<video>" * tokens), return_tensors="pt")
    video = inputs["input_ids"] == model.config.video_token_index
    assert video.sum() == tokens == model.config.video_seq_length
    ids = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        pixel_values_videos=torch.zeros(1, 8, 3, 32, 32),
        max_new_tokens=5,
        do_sample=False,
    )
    answer = ids[0, inputs["input_ids"].shape[1] :]
    assert len(answer) == 5
    assert tokenizer.decode(answer, skip_special_tokens=True) == tokenizer.decode(answer) != ""


@pytest.mark.parametrize("text", ["What is on the plate?", "Grüße, 世界 🎬", "\tif x:\n  y"])
def test_any_text_survives_the_tokenizer(loaded, text):
    tokenizer = loaded[1]
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == 1
    assert tokenizer.decode(ids[1:]) == text


def test_special_tokens(loaded):
    model, tokenizer = loaded
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<s>", "</s>", "<image>", "<video>"]) == [
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        model.config.image_token_index,
        model.config.video_token_index,
    ]
    assert len(tokenizer) <= model.config.text_config.vocab_size


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_consistent(size):
    from intp_video.lab.random_model import _config

    numbers, config = SIZES[size], _config(SIZES[size])
    assert config["video_seq_length"] == 8 * numbers.tokens_per_frame
    assert 8 * numbers.tokens_per_frame + 64 < numbers.context < 64 * numbers.tokens_per_frame
    assert numbers.hidden % numbers.heads == 0 and numbers.heads % numbers.kv_heads == 0
    assert numbers.image % numbers.patch == 0


def test_the_seed_decides(tiny, tmp_path):
    state = torch.get_rng_state()
    assert digest(make_random_model(tmp_path / "again")) == digest(tiny)
    assert digest(make_random_model(tmp_path / "other", seed=1)) != digest(tiny)
    assert torch.equal(torch.get_rng_state(), state), "torch's own generator moved"


def test_preprocessors_fit_the_tower(tiny):
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        values = json.loads((tiny / name).read_text())
        assert values["size"] == {"shortest_edge": 32}
        assert values["crop_size"] == {"height": 32, "width": 32}
        assert values["image_mean"][0] == pytest.approx(0.48145466)


def test_a_full_directory_is_left_alone_unless_told(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ModelError, match="is not empty"):
        make_random_model(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    make_random_model(tmp_path, overwrite=True)
    assert (tmp_path / "mine.txt").read_text() == "keep me"
    assert (tmp_path / "config.json").exists()


def test_nothing_half_done(tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("intp_video.lab.model_directory._write_tokenizer", fail)
    with pytest.raises(KeyboardInterrupt):
        make_random_model(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"size": "huge"}, ModelError),
        ({"seed": "0"}, TypeError),
        ({"seed": True}, TypeError),
    ],
)
def test_bad_arguments(tmp_path, arguments, error):
    with pytest.raises(error, match="make_random_model: "):
        make_random_model(tmp_path / "model", **arguments)
