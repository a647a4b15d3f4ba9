"""bench_token: the parts of a token are those of its time, and its linear layers all of them."""

from __future__ import annotations

import json

import ask_limits
import bench_token
import pytest
import torch
from ask_models import SHAPES


def test_the_parts_of_a_token_add_up(tmp_path, capsys):
    path = tmp_path / "token.json"
    options = ["--size", "tiny", "--frames", "16", "--tokens", "3", "--rounds", "1"]
    bench_token.main([*options, "--threads", "1", "--json", str(path)])
    results = json.loads(path.read_text())["results"]
    assert [result["dtype"] for result in results] == ["float32", "bfloat16"]
    for result in results:
        assert list(result["arms"]) == list(bench_token.ARMS)
        for figures in result["arms"].values():
            assert set(figures["parts_s"]) == {*bench_token.PARTS, "rest"}
            assert min(figures["parts_s"].values()) > 0
            assert sum(figures["parts_s"].values()) == pytest.approx(figures["s"])
            assert figures["reach_s"] > 0 and figures["limit_s"] > 0
    whole, packed, stock = (x["cache_bytes"] for x in results[0]["arms"].values())
    assert packed < whole == stock == 2 * results[1]["arms"]["intp_ext"]["cache_bytes"]
    assert capsys.readouterr().out.count("linear layers alone") == 2


def test_the_linear_layers_are_those_of_the_decoder_and_its_head():
    model = SHAPES["internvl"]("tiny", torch.float32, torch.device("cpu")).model
    layers, text = ask_limits.linears(model), model.config.text_config
    assert len(layers) == 7 * text.num_hidden_layers + 1
    outputs = ask_limits.one_row(model)()
    assert [x.shape for x in outputs] == [(1, 1, layer.out_features) for layer in layers]
    assert not outputs[0].requires_grad and outputs[-1].shape[-1] == text.vocab_size


@pytest.mark.parametrize(
    "wrong, said", [(["--tokens", "0"], "at least 1"), (["--size", "huge"], "expected tiny")]
)
def test_wrong_options_are_named(wrong, said, capsys):
    with pytest.raises(SystemExit):
        bench_token.main(wrong)
    assert said in capsys.readouterr().err
