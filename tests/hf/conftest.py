import os

import pytest
import torch
from hf import tiny_model
from hf.tiny_model import make_model

import intp_ext


def why_not_cuda() -> str | None:
    info = intp_ext.build_info()
    if not info["cuda_loaded"]:
        return f"no CUDA operators: {info['cuda_loaded_reason']}"
    return None if torch.cuda.is_available() else "no GPU that torch can use"


def devices() -> list:
    """INTP_TEST_DEVICES=cuda runs what takes a model on the GPU alone."""
    reason = why_not_cuda()
    skip = {"cuda": [pytest.mark.skipif(reason is not None, reason=str(reason))]}
    names = os.environ.get("INTP_TEST_DEVICES", "cpu cuda").split()
    return [pytest.param(name, marks=skip.get(name, [])) for name in names]


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small lose more to the hand-over between threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=devices())
def device(request, monkeypatch):
    """Where the model and inputs of a test live: every test of a model runs on each device."""
    monkeypatch.setattr(tiny_model, "DEVICE", torch.device(request.param))
    return request.param


@pytest.fixture
def model(device):
    return make_model()
