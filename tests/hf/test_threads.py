"""One model, several threads: what belongs to a pass belongs to its thread."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import intp_video
import pytest
import torch
import transformers
from hf.tiny_model import make_inputs, make_model

VARIANTS = [
    {},
    {"fused": False},
    {"rearrange": "attention"},
    {"window": 2},
    {"kv_bits": 4},
    {"rope": "dynamic_ntk"},
]


@pytest.fixture(autouse=True)
def switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture(scope="module")
def stock_takes_threads():
    """5.0 swaps methods of a model while it runs: threads of a stock model get in each other's
    way."""
    if transformers.__version__.startswith("5.0."):
        pytest.skip("threads of a stock model disturb each other in this transformers")


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_threads_that_generate_on_one_extended_model(variant, stock_takes_threads):
    model = make_model()
    questions = [make_inputs(16, texts=((3, 4 + i),), seed=i) for i in range(6)]

    def answer(inputs):
        return model.generate(**inputs, max_new_tokens=8, do_sample=False)

    with intp_video.extend(model, 16, **variant), ThreadPoolExecutor(3) as pool:
        one_by_one = [answer(inputs) for inputs in questions]
        for _ in range(3):
            for ours, expected in zip(pool.map(answer, questions), one_by_one, strict=True):
                assert torch.equal(ours, expected)


def test_threads_that_extend_and_restore_models_of_their_own(stock_takes_threads):
    models = [make_model(seed) for seed in range(3)]
    inputs = make_inputs(8)
    llama = sys.modules[type(models[0].model.language_model).__module__]
    original = llama.apply_rotary_pos_emb

    def extend_and_ask(model):
        answers = []
        for _ in range(10):
            with intp_video.extend(model, 8, rope="none"):
                answers.append(model.generate(**inputs, max_new_tokens=2, do_sample=False))
        return answers

    stock = [model.generate(**inputs, max_new_tokens=2, do_sample=False) for model in models]
    with ThreadPoolExecutor(3) as pool:
        for answers, expected in zip(pool.map(extend_and_ask, models), stock, strict=True):
            assert all(torch.equal(answer, expected) for answer in answers)
    assert llama.apply_rotary_pos_emb is original
