"""What is wrong with the options and the files of a model is said before anything long begins."""

import json
import shutil
from types import SimpleNamespace

import intp_video
import pytest
import torch
from huggingface_hub import errors
from intp_video.preparation import Preparer
from intp_video.processing.frame_processor import FrameProcessor
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return intp_video.make_random_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def nothing_long(monkeypatch):
    """Decoding, loading and drawing must not be reached."""

    def reached(*_, **__):
        raise AssertionError("begun before the options were checked")

    monkeypatch.setattr("intp_video.cli.ask.read_video", reached)
    monkeypatch.setattr("intp_video.cli.frames.read_video", reached)
    monkeypatch.setattr("intp_video.answering.read_video", reached)
    monkeypatch.setattr("intp_video.checkpoint.Checkpoint.model", reached)
    monkeypatch.setattr("intp_video.contact_sheet.contact_sheet", reached)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--factor", "nan"], "factor: expected a finite"),
        (["--factor", "0.5"], "factor: expected a finite"),
        (["--span", "visual"], 'needs rope="linear"'),
        (["--sink", "1"], "sink: expected with a window"),
        (["--sink", "-1", "--window", "2"], "sink: expected 0 to 100,000, got -1"),
        (["--device", "mps"], "--device: expected cpu, cuda or cuda:N, got 'mps'"),
        (["--device", "xpu"], "--device: expected cpu, cuda or cuda:N, got 'xpu'"),
        (["--device", "meta"], "--device: expected cpu, cuda or cuda:N, got 'meta'"),
        (["--device", "tpu9"], "--device: expected cpu, cuda or cuda:N, got 'tpu9'"),
        (["--device", "cuda:99"], "--device: "),
    ],
)
def test_an_option_of_ask(cli, video, model_dir, nothing_long, options, message):
    outcome = cli("ask", video, "What?", "--model", model_dir, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize("question", ["", "  ", "what is <video>?"])
def test_a_question(cli, video, model_dir, nothing_long, question):
    outcome = cli("ask", video, question, "--model", model_dir)
    assert outcome.code == 2 and "question: expected" in outcome.err


@pytest.mark.parametrize("question", ["", "what is <video>?", None])
def test_a_question_in_python(video, model_dir, monkeypatch, question):
    def reached(*_, **__):
        raise AssertionError("decoded before the question was checked")

    monkeypatch.setattr("intp_video.preparation.read_video", reached)
    monkeypatch.setattr("intp_video.answering.read_video", reached)
    model, preparer = intp_video.load(model_dir)
    with pytest.raises((TypeError, ValueError), match="question: expected"):
        intp_video.prepare(preparer, video, question, 8)
    with pytest.raises((TypeError, ValueError), match="question: expected"):
        intp_video.ask(model, preparer, video, question, 8)


@pytest.mark.parametrize("name", ["missing.mp4", "folder.mp4", "text.mp4", "empty.mp4"])
def test_a_video_that_is_none_is_said_before_the_model_is_looked_at(
    cli, tmp_path, model_dir, monkeypatch, name
):
    def reached(*_, **__):
        raise AssertionError("the model was looked at first")

    monkeypatch.setattr(Preparer, "from_pretrained", reached)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "empty.mp4").touch()
    for command in (["ask", name, "What?"], ["frames", name]):
        outcome = cli(*command, "--model", model_dir)
        assert outcome.code == 2 and f"'{name}'" in outcome.err


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("no/such/folder.png", "cannot write 'no/such/folder.png': No such file or directory"),
        ("text.txt/x.png", "cannot write 'text.txt/x.png': Not a directory"),
        (".", "cannot write '.': it is a directory"),
        ("x.mp4", "--out: expected a name that ends in .png, .jpg, .jpeg, .webp, got 'x.mp4'"),
        ("x" * 252 + ".png", "File name too long"),
    ],
)
def test_where_the_sheet_goes(cli, video, tmp_path, nothing_long, out, message):
    (tmp_path / "text.txt").write_text("text")
    outcome = cli("frames", video, "--out", out)
    assert outcome.code == 2 and message in outcome.err


def test_a_demo_that_cannot_begin_leaves_nothing(cli, tmp_path):
    for options in (["--device", "meta"], ["--model", "nothing/here"], ["--seed", "1000"]):
        assert cli("demo", *options).code == 2
    assert list(tmp_path.iterdir()) == []


# -- weights --------------------------------------------------------------------------------------


def sharded(directory, count: int = 2) -> list[str]:
    """Splits the weights of a directory into so many files and an index; returns their names."""
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    names = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
    home = {tensor: names[i * count // len(weights)] for i, tensor in enumerate(sorted(weights))}
    for name in names:
        part = {tensor: weights[tensor] for tensor in weights if home[tensor] == name}
        save_file(part, directory / name, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": home}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return names


def no_file(directory):
    (directory / "model.safetensors").unlink()


def cut_off(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def no_header(directory):
    (directory / "model.safetensors").write_bytes(b"\xff" * 100)


def one_of_two(directory):
    (directory / sharded(directory)[1]).unlink()


def one_of_two_cut_off(directory):
    path = directory / sharded(directory)[1]
    path.write_bytes(path.read_bytes()[:-1])


def the_same_twice(directory):
    first, second = sharded(directory)
    shutil.copy(directory / first, directory / second)


def no_index(directory):
    sharded(directory)
    (directory / "model.safetensors.index.json").write_text("[]")


WEIGHTS = {
    no_file: "broken: no weights: expected model.safetensors, or model.safetensors.index.json",
    cut_off: "broken/model.safetensors: no weights: ",
    no_header: "broken/model.safetensors: no weights: ",
    one_of_two: "broken: no model-00002-of-00002.safetensors there",
    one_of_two_cut_off: "broken/model-00002-of-00002.safetensors: no weights: ",
    the_same_twice: "broken/model-00002-of-00002.safetensors: ",
    no_index: "broken/model.safetensors.index.json: no index of weights: ",
}


@pytest.mark.parametrize("harm", WEIGHTS)
@pytest.mark.parametrize("command", ["ask", "eval", "demo"])
def test_weights(cli, video, model_dir, tmp_path, monkeypatch, nothing_long, command, harm):
    def reached(*_, **__):
        raise AssertionError("begun before the weights were looked at")

    for name in ("evaluation.shapes_questions", "evaluation.read_questions", "shapes.write_world"):
        monkeypatch.setattr(f"intp_video.lab.{name}", reached)
    shutil.copytree(model_dir, tmp_path / "broken")
    harm(tmp_path / "broken")
    outcome = cli(command, *([video, "What?"] if command == "ask" else []), "--model", "broken")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"intp-video: error: {WEIGHTS[harm]}"), outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_weights_in_several_files_are_read(cli, video, model_dir, tmp_path):
    ask = ("ask", video, "What?", "--frames", 8, "--max-new-tokens", 4, "--model")
    shutil.copytree(model_dir, tmp_path / "parts")
    sharded(tmp_path / "parts", 3)
    assert cli(*ask, "parts").out == cli(*ask, model_dir).out != ""


def test_a_tensor_that_is_missing_is_not_made_up(model_dir, tmp_path):
    """transformers would draw random numbers for it."""
    shutil.copytree(model_dir, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    del weights[lost]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(intp_video.ModelError, match=r"lack 1 tensors .*layers\.1\.mlp\.up_proj"):
        intp_video.load(tmp_path / "model")


# -- the name of a model --------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("a network was asked")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", asked)


@pytest.mark.parametrize("name", ["./tiny", "/no/such", "models/of/mine", "tiny/", "~/tiny", ".."])
@pytest.mark.parametrize("command", ["ask", "plan", "frames", "demo", "eval"])
def test_a_path_is_not_looked_for_on_the_hub(cli, video, no_network, command, name):
    what = {"ask": [video, "What?"], "frames": [video]}.get(command, [])
    outcome = cli(command, *what, "--model", name)
    assert outcome.code == 2 and outcome.err.count("\n") == 1
    message = "no config.json there" if name == ".." else "there is no such folder"
    assert f"{name}: {message}" in outcome.err


def test_a_name_that_can_be_neither(no_network):
    with pytest.raises(intp_video.ModelError, match="no such folder, and it is no id of the hub"):
        intp_video.plan("a model of mine")


def test_offline(no_network, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(intp_video.ModelError, match="HF_HUB_OFFLINE forbids to ask the hub"):
        intp_video.load("nobody/nothing")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: OSError("Name or service not known"), "cannot be asked .*: Name or service not"),
        (lambda: errors.RepositoryNotFoundError("404", response=response()), "has no such model"),
        (lambda: errors.EntryNotFoundError("404"), "no config.json there"),
    ],
)
def test_what_the_hub_answers_is_said_at_once(monkeypatch, error, message):
    asked = []

    def ask(url, timeout):
        asked.append(url)
        raise error()

    def retried(*_, **__):
        raise AssertionError("transformers asks the hub again and again")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", ask)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", retried)
    with pytest.raises(intp_video.ModelError, match=message):
        intp_video.load("nobody/nothing")
    assert len(asked) == 1 and asked[0].endswith("/nobody/nothing/resolve/main/config.json")


def response() -> SimpleNamespace:
    return SimpleNamespace(headers={}, request=None, status_code=404)


# -- files of a model -----------------------------------------------------------------------------

FILES = (
    "config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
)


@pytest.mark.parametrize("content", ["[]", "[1]", "3", "null", '"text"', "{", "{}", "", "\0\xff"])
@pytest.mark.parametrize("name", FILES)
def test_any_json_in_place_of_a_model_file(cli, video, model_dir, tmp_path, name, content):
    """It is read, where the file is not needed, or refused in one line that names the directory."""
    shutil.copytree(model_dir, tmp_path / "broken")
    (tmp_path / "broken" / name).write_text(content, encoding="latin-1")
    outcome = cli("ask", video, "What?", "--model", "broken", "--frames", 8, "--max-new-tokens", 1)
    assert outcome.code in (0, 2)
    if outcome.code == 2:
        last = outcome.err.splitlines()[-1]
        assert last.startswith("intp-video: error: ") and "broken" in last
        assert not last.rstrip().endswith((":", ";"))


@pytest.mark.parametrize(
    "change",
    [
        {"image_mean": 3},
        {"image_mean": [0.5, 0.5]},
        {"image_mean": ["a", "b", "c"]},
        {"image_std": [0, 0, 0]},
        {"image_std": None},
        {"size": "big"},
        {"size": []},
        {"size": [32, 32]},
        {"size": {"shortest_edge": 0}},
        {"size": {"shortest_edge": "wide"}},
        {"size": {"shortest_edge": 32.5}},
        {"size": -5},
        {"crop_size": [1, 2, 3]},
        {"crop_size": {"height": -1, "width": 5}},
        {"rescale_factor": None},
        {"rescale_factor": "x"},
        {"rescale_factor": float("nan")},
        {"resample": 99},
        {"resample": [3]},
    ],
)
def test_preprocessor_values_that_make_no_sense(model_dir, tmp_path, change):
    values = json.loads((model_dir / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values | change))
    with pytest.raises(intp_video.ModelError, match=r"preprocessor_config\.json: ") as caught:
        FrameProcessor.from_directory(tmp_path)
    assert next(iter(change)) in str(caught.value)


def test_a_full_disk_under_a_random_model(cli_process, tmp_path):
    """Files may have 20,000 bytes: the weights do not fit."""
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    process = cli_process("random-model", "model", prelude=prelude)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("intp-video: error: cannot write 'model': ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_a_demo(cli_process):
    prelude = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    process = cli_process("demo", "--quiet", prelude=prelude)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.count("\n") == 1 and "intp-demo" in err


def test_the_device_of_python_is_torchs(model_dir):
    model, _ = intp_video.load(model_dir, device=torch.device("cpu"))
    assert model.device.type == "cpu"
