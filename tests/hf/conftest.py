import pytest
import torch
from hf.with_torchvision import has_torchvision
from ops.devices import DEVICES

from intp_ext import kv_cache

has_torchvision()  # before transformers finds it: a broken one breaks every model

from hf import tiny_model  # noqa: E402
from hf.tiny_model import make_model  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small lose more to the hand-over between threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def few_recent_tokens(monkeypatch):
    """Prompts this short would be recent altogether, and nothing would be packed."""
    monkeypatch.setattr(kv_cache, "RECENT", 20)


@pytest.fixture(params=DEVICES)
def device(request, monkeypatch):
    """Where the model and inputs of a test live: every test of a model runs on each device."""
    monkeypatch.setattr(tiny_model, "DEVICE", torch.device(request.param))
    return request.param


@pytest.fixture
def model(device):
    return make_model()
