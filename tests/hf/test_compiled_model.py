"""torch.compile of a whole extended model, as generate() does by itself on a GPU."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.stock import step_logits
from hf.tiny_model import make_inputs, make_model, with_cache
from torch._dynamo.utils import counters
from transformers import CompileConfig, DynamicCache, StaticCache

TOLERANCE = 1e-5
STEPS = 12
CACHES = {
    "static": lambda config: StaticCache(config=config, max_cache_len=80),
    "dynamic": lambda config: DynamicCache(config=config),
}


@pytest.fixture(autouse=True)
def from_nothing():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def decode(model, cache):
    """``[B, STEPS, V]`` by one fullgraph, after a prefill that is not compiled; and the graphs."""
    inputs = make_inputs(8)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    counters.clear()
    logits = []
    with torch.no_grad():
        cache = with_cache(model, CACHES[cache](model.config.text_config))
        model(**inputs, **cache)
        step = torch.compile(model.forward, backend="eager", fullgraph=True)
        for i in range(STEPS):
            mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
            positions = mask.cumsum(-1)[:, -1:] - 1
            token = torch.full_like(ids[:, :1], 7 + i)
            output = step(input_ids=token, attention_mask=mask, position_ids=positions, **cache)
            logits.append(output.logits)
    return torch.cat(logits, dim=1), counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("cache", "options"),
    [("static", {}), ("static", {"fused": False}), ("dynamic", {})],
    ids=["static", "static-unfused", "dynamic"],
)
def test_decoding_is_one_graph_as_often_as_stock_is(cache, options):
    model = make_model(num_hidden_layers=1)
    try:
        stock, stock_graphs = decode(model, cache)
    except Exception as error:  # whatever torch.compile raises
        pytest.skip(f"a stock model does not compile here: {type(error).__name__}")
    torch._dynamo.reset()
    with intp_video.extend(model, 8, rope="none", **options):
        ours, graphs = decode(model, cache)
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)
    assert graphs <= stock_graphs + 1  # one more where positions leave what was trained


def test_generate_compiles_the_decode_step_itself():
    model = make_model(num_hidden_layers=1)
    inputs = make_inputs(8)
    config = CompileConfig(fullgraph=True, dynamic=False, backend="eager", mode=None)
    config._compile_all_devices = True  # otherwise on a GPU only
    options = {"cache_implementation": "static", "compile_config": config}
    stock = step_logits(model, inputs)
    with intp_video.extend(model, 8, rope="none"):
        ours = step_logits(model, inputs, **options)
    assert counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("options", [{}, {"kv_bits": 4}], ids=str)
def test_with_graph_breaks_the_prefill_compiles_too(options):
    model = make_model(num_hidden_layers=1)
    inputs = make_inputs(8)
    with torch.no_grad(), intp_video.extend(model, 8, rope="none", **options):
        eager = model(**inputs).logits
        compiled = torch.compile(model, backend="eager")(**inputs).logits
    torch.testing.assert_close(compiled, eager, rtol=0, atol=TOLERANCE)
