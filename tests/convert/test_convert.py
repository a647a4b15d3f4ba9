"""The original Video-LLaVA, converted: it computes what the original's definition says, every
tensor has its place, and nothing is written that is not whole."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import intp_video
import pytest
import torch
from convert import original_llava as original
from intp_video.cli import main
from intp_video.compat import pooled_features
from intp_video.convert import convert_video_llava
from intp_video.errors import ModelError

BEFORE, AFTER = [1, 5, 9], [11, 3, 7, 8]


def write(
    folder: Path,
    *,
    frames: int = 8,
    inside: bool = False,
    pickled: bool = False,
    shards: int = 2,
    config: dict | None = None,
    vision: dict | None = None,
) -> tuple[Path, Path, original.Weights, original.Weights]:
    """The checkpoint and the folder of its tower, and the weights of both."""
    checkpoint, tower = folder / "original", folder / "tower"
    language, seen = original.language_weights(), original.tower_weights(frames)
    original.write_config(checkpoint, original.CONFIG | (config or {}))
    of_tower = original.tower_config(frames)
    of_tower["vision_config"] |= vision or {}
    original.write_config(tower, of_tower)
    original.write_tokenizer(checkpoint)
    saved = dict(language)
    if inside:
        saved |= {f"model.video_tower.video_tower.{name}": x for name, x in seen.items()}
        saved["model.image_tower.image_tower.embeddings.class_embedding"] = torch.randn(4)
    else:
        original.write_weights(tower, original.whole_clip(seen), pickled, shards=1)
    original.write_weights(checkpoint, saved, pickled, shards)
    return checkpoint, tower, language, seen


@pytest.mark.parametrize(
    ("inside", "pickled", "shards"),
    [(False, False, 2), (True, True, 3), (False, True, 1), (True, False, 1)],
)
@torch.no_grad()
def test_it_computes_what_the_original_does(tmp_path, inside, pickled, shards):
    checkpoint, tower, language, seen = write(
        tmp_path, inside=inside, pickled=pickled, shards=shards
    )
    done = convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    assert done.tensors == len(language) + len(seen)
    model, preparer = intp_video.load(tmp_path / "ours", dtype=torch.float64)
    language, seen = ({k: x.double() for k, x in of.items()} for of in (language, seen))
    videos = torch.randn(1, 3, 8, 16, 16, generator=torch.Generator().manual_seed(2)).double()
    pixels = videos.transpose(1, 2)
    features = pooled_features(model.model.get_video_features(pixels))
    expected = original.project(language, original.tower_features(seen, videos))
    torch.testing.assert_close(features.reshape(expected.shape), expected, rtol=0, atol=5e-6)
    video = [preparer.video_token_id] * (8 * original.TOKENS)
    said = model(input_ids=torch.tensor([BEFORE + video + AFTER]), pixel_values_videos=pixels)
    expected = original.logits(language, seen, BEFORE, videos, AFTER)
    found = said.logits[0, :, : original.VOCAB]
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@torch.no_grad()
def test_a_single_frame_gets_no_number_as_in_the_original(tmp_path):
    checkpoint, tower, _, seen = write(tmp_path, frames=1)
    convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    model, _ = intp_video.load(tmp_path / "ours", dtype=torch.float64)
    seen = {name: tensor.double() for name, tensor in seen.items()}
    videos = torch.randn(2, 3, 1, 16, 16, generator=torch.Generator().manual_seed(2)).double()
    states = model.model.video_tower(
        videos.transpose(1, 2).flatten(0, 1), output_hidden_states=True
    ).hidden_states
    expected = original.tower_features(seen, videos).flatten(0, 1)
    torch.testing.assert_close(states[-2], expected, rtol=0, atol=5e-6)


def test_every_tensor_is_the_same_bits(tmp_path):
    checkpoint, tower, language, seen = write(tmp_path, inside=True)
    convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    model, _ = intp_video.load(tmp_path / "ours")
    left = dict(model.state_dict())
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        rows = left[name]
        old = language[name.replace("language_model.", "")]
        assert torch.equal(rows[: original.VOCAB], old) and not rows[original.VOCAB :].any()
        assert len(rows) == original.VOCAB + 2
    for name, tensor in seen.items():
        assert torch.equal(left[f"model.video_tower.{name}"], tensor), name
    assert torch.equal(
        left["model.multi_modal_projector.linear_2.bias"], language["model.mm_projector.2.bias"]
    )


def test_it_is_asked_like_any_other_and_never_says_a_placeholder(tmp_path):
    checkpoint, tower, _, _ = write(tmp_path)
    done = convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    model, preparer = intp_video.load(tmp_path / "ours")
    assert done.placeholders == {"<image>": 40, "<video>": 41}
    assert model.generation_config.suppress_tokens == [40, 41]
    assert preparer.frames_per_group == 8 and preparer.tokens_per_frame == original.TOKENS
    assert (preparer.prompt_ids("w1 w2", 16)[0] == 41).sum() == 16 * original.TOKENS
    talk = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "w1?"}]},
        {"role": "assistant", "content": "w2."},
        {"role": "user", "content": "w3?"},
    ]
    assert preparer.tokenizer.apply_chat_template(
        talk, tokenize=False, add_generation_prompt=True
    ) == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <video>\nw1? ASSISTANT: w2.</s>USER: w3? ASSISTANT:"
    )
    with intp_video.extend(model, 32):
        ids = preparer.prompt_ids("w1 w2", 32)
        pixels = torch.randn(1, 32, 3, 16, 16)
        answer = model.generate(input_ids=ids, pixel_values_videos=pixels, max_new_tokens=3)
    assert answer.shape[1] == ids.shape[1] + 3 and answer[0, -3:].max() < original.VOCAB


def test_what_has_no_place_is_named_and_so_is_what_is_missing(tmp_path):
    checkpoint, tower, language, _ = write(tmp_path, shards=1)
    language["model.surprise.weight"] = torch.ones(2)
    del language["model.layers.1.mlp.up_proj.weight"]
    language["model.norm.weight"] = torch.ones(3)
    original.write_weights(checkpoint, language, pickled=False, shards=1)
    with pytest.raises(ModelError) as error:
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    for said in (
        "left over: model.surprise.weight in model.safetensors",
        "missing: model.language_model.layers.1.mlp.up_proj.weight",
        "model.norm.weight: expected the shape [32], got [3]",
    ):
        assert said in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original", "tower"]


def test_a_tensor_in_two_files_is_refused(tmp_path):
    checkpoint, tower, language, _ = write(tmp_path)
    extra = {"lm_head.weight": language["lm_head.weight"]}
    for path in sorted(checkpoint.glob("model-*.safetensors")):
        from safetensors.torch import load_file, save_file

        save_file(load_file(path) | extra, path)
    with pytest.raises(ModelError, match=r"there twice: lm_head\.weight in model-00002"):
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)


class _Evil:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    checkpoint, tower, _, _ = write(tmp_path, pickled=True, shards=1)
    (checkpoint / "pytorch_model.bin").write_bytes(pickle.dumps({"a": _Evil()}))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: no weights"):
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    assert "must not run" not in capsys.readouterr().out


def test_what_is_there_stays(tmp_path):
    checkpoint, tower, _, _ = write(tmp_path)
    (tmp_path / "ours").mkdir()
    with pytest.raises(ModelError, match="exists; give another directory"):
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    assert not list((tmp_path / "ours").iterdir())


def test_nothing_is_left_of_a_conversion_that_failed(tmp_path, monkeypatch):
    from intp_video.convert import directory

    checkpoint, tower, _, _ = write(tmp_path)
    monkeypatch.setattr(directory, "write_processors", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original", "tower"]


@pytest.mark.parametrize(
    ("config", "vision", "message"),
    [
        ({"mm_projector_type": "linear"}, {}, 'mm_projector_type: expected "mlp2x_gelu", got "lin'),
        ({"model_type": "qwen2"}, {}, 'model_type: expected "llava" or "llava_llama", got "qwen2"'),
        ({"mm_use_im_start_end": True}, {}, "mm_use_im_start_end: expected false, got true"),
        ({"tie_word_embeddings": True}, {}, "tie_word_embeddings: expected false, got true"),
        ({"vocab_size": None}, {}, "vocab_size: expected an integer, got null"),
        ({"mm_hidden_size": 99}, {}, "mm_hidden_size: expected 24, as the tower has, got 99"),
        ({"hidden_size": 30}, {}, "no model in config.json|expected the shape"),
        ({}, {"add_time_attn": False}, "add_time_attn: expected true, got false"),
        ({}, {"num_frames": 4}, r"temporal_embedding: expected the shape \[1, 4, 24\], got \[1, 8"),
    ],
)
def test_other_models_are_refused_by_name(tmp_path, config, vision, message):
    checkpoint, tower, _, _ = write(tmp_path, config=config, vision=vision)
    with pytest.raises(ModelError, match=message):
        convert_video_llava(checkpoint, tmp_path / "ours", video_tower=tower)


def test_files_that_are_not_there(tmp_path):
    checkpoint, tower, _, _ = write(tmp_path)
    ours = tmp_path / "ours"
    with pytest.raises(ModelError, match="--video-tower DIR"):
        convert_video_llava(checkpoint, ours)
    (checkpoint / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model-00002-of-00002\.safetensors there"):
        convert_video_llava(checkpoint, ours, video_tower=tower)
    (tower / "model.safetensors").unlink()
    original.write_weights(checkpoint, original.language_weights(), pickled=False, shards=2)
    with pytest.raises(ModelError, match="no video tower among the weights, and none in"):
        convert_video_llava(checkpoint, ours, video_tower=tower)
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        convert_video_llava(checkpoint, ours, video_tower=tower)
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        convert_video_llava(checkpoint, ours, video_tower=tower)
    (checkpoint / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json there"):
        convert_video_llava(checkpoint, ours, video_tower=tower)


def test_the_command(tmp_path, capsys, monkeypatch):
    checkpoint, tower, _, _ = write(tmp_path)
    named = checkpoint / "LanguageBind" / "LanguageBind_Video_merge"
    named.parent.mkdir()
    tower.rename(named)  # where mm_video_tower says it is
    ours = str(tmp_path / "ours")
    assert main(["convert", str(checkpoint), ours, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["directory"] == ours and sum(told["dropped"].values()) == 5
    assert "dropped 4 tensors: the text side and projections of the tower's CLIP" in err
    assert main(["convert", str(checkpoint), ours]) == 2
    assert "exists; give another directory" in capsys.readouterr().err
