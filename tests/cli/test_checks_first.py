"""What is wrong with the options and the files of a model is said before anything long begins."""

import json
import shutil

import intp_video
import pytest
import torch
from intp_video.frame_processor import FrameProcessor
from intp_video.preparation import Preparer


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
    monkeypatch.setattr("intp_video.answering.load_model", reached)
    monkeypatch.setattr("intp_video.contact_sheet.contact_sheet", reached)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--factor", "nan"], "factor: expected a finite"),
        (["--factor", "0.5"], "factor: expected a finite"),
        (["--span", "visual"], 'needs rope="linear"'),
        (["--sink", "1"], "sink: expected with a window"),
        (["--sink", "-1", "--window", "2"], "sink: expected a number of tokens"),
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
