"""Weights spread over two ranks, or over two places of one process, answer as they do in one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import intp_video
import pytest
import torch
from hf import ranks
from intp_video.hook.parallel import check_heads

TOLERANCE = 5e-5  # sums over two ranks round differently


@pytest.fixture(params=["video_llava", "qwen2_5_vl"])
def family(request):
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("transformers places weights by accelerate, which is not installed")
    return ranks.named(request.param)


@pytest.fixture
def folder(family, tmp_path):
    family.make_model().save_pretrained(tmp_path)
    return tmp_path


def torchrun(folder, *arguments, ranks=2):
    """Runs ``ranks.py`` on so many ranks of this machine, which speak gloo."""
    tests = Path(__file__).parents[1]
    program = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    done = subprocess.run(
        [sys.executable, *program, str(tests / "hf" / "ranks.py"), *arguments, str(folder)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_two_ranks_are_one(family, folder):
    torchrun(folder, family.name)
    alone = ranks.answers(family, folder)
    for rank in range(2):
        found = torch.load(folder / f"rank-{rank}.pt", weights_only=True)
        for name in ranks.OPTIONS:
            assert (found[name]["heads"], alone[name]["heads"]) == (1, 2)  # they were spread
            difference = (found[name]["logits"] - alone[name]["logits"]).abs().max().item()
            assert difference < TOLERANCE, name
            assert torch.equal(found[name]["tokens"], alone[name]["tokens"]), name


def test_heads_that_no_two_ranks_can_share():
    """Of a layer with one key head of 16 channels, of which each of two ranks has a half."""
    weight = SimpleNamespace(
        shape=(16, 64),
        to_local=lambda: torch.empty(8, 64),
        device_mesh=SimpleNamespace(size=lambda: 2),
    )
    layer = SimpleNamespace(k_proj=SimpleNamespace(weight=weight), head_dim=16)
    with pytest.raises(intp_video.ModelError, match=r"has 1 key heads, .* spread over 2 ranks"):
        check_heads(layer)
    layer.head_dim = 8
    check_heads(layer)


def test_a_device_map_with_a_part_on_the_disk(family, folder):
    """``device_map="auto"``, as with several GPUs: accelerate brings what a layer needs."""
    alone = ranks.answers(family, folder)
    size = (folder / "model.safetensors").stat().st_size
    places = {"max_memory": {"cpu": 2 * size // 3}, "offload_folder": folder / "offloaded"}
    spread = ranks.answers(family, folder, device_map="auto", **places)
    assert spread["elsewhere"] > alone["elsewhere"] == 0
    for name in ranks.OPTIONS:
        assert torch.equal(spread[name]["logits"], alone[name]["logits"]), name
        assert torch.equal(spread[name]["tokens"], alone[name]["tokens"]), name
