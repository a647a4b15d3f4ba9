"""What decides the answers, known by contents: files may move, weights may be spread anew."""

import json
import shutil

import pytest
from intp_video import SMALL_MODEL, ModelError
from intp_video.batch import VideoAnswerer
from intp_video.batch.settings import checked_settings
from safetensors.torch import load_file, save_file


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(SMALL_MODEL, tmp_path / "model")


def settings(model, **options):
    return checked_settings(VideoAnswerer(model, 8, **options))


def different(one, other):
    return {name for name in one | other if one.get(name) != other.get(name)}


def test_they_are_those_of_the_contents(model):
    expected = settings(SMALL_MODEL)
    assert settings(model, device="cuda", folder="/elsewhere") == expected
    assert json.loads(json.dumps(expected)) == expected


def test_weights_in_several_files_are_the_same(model):
    weights = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    home = {name: f"{place % 2}.safetensors" for place, name in enumerate(weights)}
    for file in {*home.values()}:
        save_file({name: weights[name] for name in weights if home[name] == file}, model / file)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": home}))
    assert settings(model) == settings(SMALL_MODEL)


def test_any_tensor_decides(model):
    weights = load_file(model / "model.safetensors")
    last = sorted(weights)[-1]
    weights[last] = weights[last] * 1.01
    save_file(weights, model / "model.safetensors")
    assert different(settings(model), settings(SMALL_MODEL)) == {"weights"}


def test_options_and_files_beside_the_weights_decide(model):
    before = settings(model)
    assert different(before, settings(model, window=4)) == {"window"}
    assert different(before, settings(model, dtype="bfloat16")) == {"dtype"}
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(generation | {"num_beams": 2}))
    assert different(before, settings(model)) == {"config"}
    values = json.loads((model / "video_preprocessor_config.json").read_text())
    values["image_mean"] = [0.5, 0.5, 0.5]
    (model / "video_preprocessor_config.json").write_text(json.dumps(values))
    assert different(before, settings(model)) == {"config", "preprocessing"}


def test_a_model_without_weights_is_refused(model):
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights: expected"):
        settings(model)
