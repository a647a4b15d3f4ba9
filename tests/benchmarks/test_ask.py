"""bench_ask: every arm answers alike, and what does not fit is left out with its reason."""

import dataclasses
import json

import ask_models
import bench_ask
import numpy as np
import pytest
import torch
from intp_video.models import family_for
from intp_video.video import Clip

STAGES = set(bench_ask.STAGES)


def test_every_arm_gives_the_same_tokens(tmp_path, capsys):
    path = tmp_path / "ask.json"
    options = [
        "--size",
        "tiny",
        "--frames",
        "16",
        "--rounds",
        "1",
        "--tokens",
        "3",
        "--threads",
        "1",
    ]
    assert bench_ask.main([*options, "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    (result,) = report["results"]
    assert list(result["arms"]) == list(bench_ask.ARMS) and result["left_out"] == {}
    for figures in result["arms"].values():
        assert figures["tokens_equal_first_arm"] or not figures["same_computation"]
        assert set(figures["median_s"]) == STAGES and min(figures["median_s"].values()) > 0
        assert figures["reach_s"]["token"] > report["linears_s"] > 0
    assert "of reach  same tokens" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["qwen2_5_vl", "internvl"])
def test_other_shapes_give_the_tokens_of_stock(shape, tmp_path):
    path = tmp_path / "ask.json"
    options = ["--shape", shape, "--size", "tiny", "--frames", "16", "--rounds", "1"]
    bench_ask.main([*options, "--tokens", "3", "--threads", "1", "--json", str(path)])
    report = json.loads(path.read_text())
    (result,) = report["results"]
    assert report["shape"] == shape and report["parameters"] > 0
    assert list(result["left_out"]) == ["intp_ext, attention"]
    assert [*result["arms"]] == [arm for arm in bench_ask.ARMS if arm != "intp_ext, attention"]
    for figures in result["arms"].values():
        assert figures["tokens_equal_first_arm"] or not figures["same_computation"]
        assert min(figures["median_s"].values()) > 0


@pytest.mark.parametrize(
    ("shape", "heads", "head_dim", "tokens"),
    [("qwen2_5_vl", (16, 2), 128, 8 * 144), ("internvl", (14, 2), 64, 16 * 256)],
)
def test_proportions_are_those_of_the_model(shape, heads, head_dim, tokens):
    make = ask_models.SHAPES[shape]
    model, inputs, rope = vars(make("medium", torch.float32, torch.device("cpu"))).values()
    text = model.config.text_config
    assert (text.num_attention_heads, text.num_key_value_heads) == heads
    assert text.hidden_size // text.num_attention_heads == head_dim and rope == "none"
    assert 100e6 < sum(parameter.numel() for parameter in model.parameters()) < 150e6
    frames = np.zeros((16, 272, 272, 3), np.uint8)
    times = np.arange(16.0)
    clip = Clip(frames, times, np.arange(16), 1.0, 16.0, "none", "none")
    placeholder = family_for(model.config).placeholder_id(model.config)
    assert (inputs(clip)["input_ids"] == placeholder).sum() == tokens


def test_a_size_of_the_other_shapes_is_checked(capsys):
    with pytest.raises(SystemExit):
        bench_ask.main(["--shape", "internvl", "--size", "large"])
    assert "--size: expected tiny or medium for internvl" in capsys.readouterr().err


def test_what_does_not_fit_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_ask, "eager_bytes", lambda model, tokens: 10**15)
    path = tmp_path / "ask.json"
    options = [
        "--size",
        "tiny",
        "--frames",
        "8",
        "--rounds",
        "1",
        "--tokens",
        "2",
        "--threads",
        "1",
    ]
    bench_ask.main([*options, "--json", str(path)])
    (result,) = json.loads(path.read_text())["results"]
    assert "stock eager" not in result["arms"]
    assert result["left_out"]["stock eager"].startswith("needs 1000000 GB")


@pytest.mark.parametrize("options", [["--tokens", "1"], ["--rounds", "0"], ["--threads", "0"]])
def test_bad_options(options, capsys):
    with pytest.raises(SystemExit) as stop:
        bench_ask.main(options)
    assert stop.value.code == 2


def test_windows_are_arms_of_their_own(tmp_path):
    path = tmp_path / "ask.json"
    options = ["--size", "tiny", "--frames", "16", "--rounds", "1", "--tokens", "2"]
    arms = ["--arms", "intp_ext", "stock sdpa", "--windows", "2", "16"]
    bench_ask.main([*options, *arms, "--threads", "1", "--json", str(path)])
    (result,) = json.loads(path.read_text())["results"]
    same = {arm: figures["same_computation"] for arm, figures in result["arms"].items()}
    assert same == {
        "intp_ext": True,
        "stock sdpa": True,
        "intp_ext, window 2": False,
        "intp_ext, window 16": False,
    }


def test_a_dry_run_sets_every_arm_up_on_a_model_without_memory(tmp_path, capsys):
    path = tmp_path / "ask.json"
    options = ["--device", "cuda", "--size", "7b", "--dtype", "bfloat16", "--frames", "8", "16"]
    assert bench_ask.main([*options, "--windows", "3", "--dry-run", "--json", str(path)]) == 0
    assert not path.exists()
    arms = "; ".join([*bench_ask.ARMS, "intp_ext, window 3"])
    text = 1 + 1 + ask_models.BEFORE + ask_models.AFTER
    assert capsys.readouterr().out.splitlines() == [
        f"{frames} frames, {frames * 257 + text:,} tokens of prompt, 7,366 M parameters: {arms}"
        for frames in (8, 16)
    ]
    with pytest.raises(ValueError, match="window"):
        bench_ask.main([*options, "--windows", "0", "--dry-run"])


def test_the_uncut_video_llava_is_asked(tmp_path, monkeypatch):
    """Its shape, cut to what a test can run: as "7b" is made and asked on a GPU."""

    def cut(tiny):
        config = uncut.config(tiny)
        config["text_config"] |= {"hidden_size": 128, "intermediate_size": 128}
        config["text_config"] |= {"num_attention_heads": 2, "num_key_value_heads": 2}
        config["vision_config"] |= {"hidden_size": 64, "intermediate_size": 64}
        config["vision_config"] |= {"num_attention_heads": 1}
        for part in ("text_config", "vision_config"):
            config[part]["num_hidden_layers"] = 2
        return config

    uncut = ask_models.VIDEO_LLAVA_7B
    monkeypatch.setattr(ask_models, "VIDEO_LLAVA_7B", dataclasses.replace(uncut, config=cut))
    path = tmp_path / "ask.json"
    options = ["--size", "7b", "--frames", "8", "--rounds", "1", "--tokens", "2"]
    arms = ["--arms", "intp_ext", "intp_ext, 4 bits", "stock sdpa"]
    bench_ask.main([*options, *arms, "--threads", "1", "--json", str(path)])
    (result,) = json.loads(path.read_text())["results"]
    assert result["arms"]["stock sdpa"]["tokens_equal_first_arm"]


def test_free_memory_is_that_of_the_device():
    assert 0 < bench_ask.free_bytes(torch.device("cpu")) < 2**50
