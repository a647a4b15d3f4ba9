"""intp_video.lab.real_model on a tiny random decoder: no weights of others are needed."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
import torch
from hf.tiny_decoders import DECODERS, make_decoder
from intp_video import compat
from intp_video.hook.rotary import frequencies_of
from intp_video.lab.real_model import __main__ as command
from intp_video.lab.real_model import decoder
from intp_video.lab.real_model.layers import DTYPE, empty_cache, share_of_16_bits
from intp_video.lab.real_model.measuring import BLOCK, agreeing, compare
from intp_video.lab.real_model.reading import Reader, chunk_ends
from intp_video.lab.real_model.records import Records, together
from intp_video.lab.real_model.schemes import EXACT, Scheme
from intp_video.lab.real_model.texts import SOURCES, text

import intp_ext

TOKENS, SCORED = 230, 128


@pytest.fixture(scope="module")
def model():
    return make_decoder(DECODERS["gemma3"])  # sliding and full layers


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, 120, (TOKENS,), generator=torch.manual_seed(0))


def log_probabilities(model, scheme, ids):
    return torch.cat(list(Reader(model).log_probabilities(scheme, ids, SCORED)))


# ---- reading ----


@pytest.mark.parametrize("recent", [0, 1, 64, 100])
@pytest.mark.parametrize("group", [64, 128])
def test_a_chunk_has_no_token_that_would_have_read_another_page(group, recent):
    begin = 0
    for end in chunk_ends(700, Scheme(4, recent, key_group=group)):
        packed = [max(0, (length - recent) // group) for length in range(begin + 1, end + 1)]
        assert packed and set(packed) == {packed[0]}
        begin = end
    assert begin == 700


@pytest.mark.parametrize("recent", [0, 1, 100, 128])
@pytest.mark.parametrize("group", [64, 128])
def test_our_cache_packs_between_chunks_alone(group, recent):
    scheme = Scheme(4, recent, 4, key_group=group)
    cache = scheme.make()
    ends, packed = chunk_ends(500, scheme), []
    for _ in range(500):
        cache.append(*torch.zeros(2, 1, 1, 1, 16))
        packed.append(cache.packed)
    assert [i for i in range(1, 500) if packed[i] > packed[i - 1]] == ends[:-1]


def test_16_bits_are_what_the_model_computes(model, ids):
    found = log_probabilities(model, EXACT, ids)
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        expected = model(ids[None, :-1], logits_to_keep=SCORED).logits[0].log_softmax(-1)
    assert found.shape == (SCORED, 120)
    assert (found - expected).abs().max() < 0.1  # bfloat16 in every layer


@pytest.mark.parametrize("options", [(4,), (2,), (2, 64, 4), (3, 20, 0)])
def test_chunks_read_what_single_tokens_read(model, ids, options):
    """Up to rounding, which moves some codes: far less than packing changes."""
    """Up to rounding, of which some moves a code: far less than packing changes."""
    scheme = Scheme(*options)
    found = log_probabilities(model, scheme, ids)
    cache = {compat.cache_argument(model.forward): empty_cache(scheme, model.config)}
    with torch.inference_mode():
        alone = [model(token[None, None], **cache).logits[0] for token in ids[:-1]]
    expected = torch.cat(alone[-SCORED:]).log_softmax(-1)
    packing = (log_probabilities(model, EXACT, ids) - expected).abs().mean()
    assert (found - expected).abs().mean() < packing / 6


def test_fewer_bits_are_further_away(model, ids):
    exact = log_probabilities(model, EXACT, ids)
    came = ids[-SCORED:]
    four, two = (
        compare(exact, [log_probabilities(model, Scheme(bits), ids)], came) for bits in (4, 2)
    )
    assert 0 < sum(four["kl"]) < sum(two["kl"]) / 4


def test_the_sliding_layer_may_keep_16_bits(model, ids):
    assert model.config.layer_types == ["sliding_attention", "full_attention"]
    bits = [
        [layer.cache.bits for layer in empty_cache(Scheme(4, layers=which), model.config).layers]
        for which in ("all", "full")
    ]
    assert bits == [[4, 4], [16, 4]]
    exact = log_probabilities(model, EXACT, ids)
    everywhere, full = (
        (log_probabilities(model, Scheme(4, layers=which), ids) - exact).abs().mean()
        for which in ("all", "full")
    )
    assert 0 < full < everywhere


def test_a_window_of_everything_is_no_window_and_a_small_one_is(model, ids):
    exact = log_probabilities(model, EXACT, ids)
    assert torch.equal(log_probabilities(model, Scheme(window=TOKENS), ids), exact)
    near = log_probabilities(model, Scheme(window=8), ids)
    sink = log_probabilities(model, Scheme(window=8, window_sink=4), ids)
    assert not torch.equal(near, exact) and not torch.equal(near, sink)


def test_a_text_beyond_the_trained_context_is_read_with_the_frequencies_of_transformers(ids):
    """ntk at factor s is another rope_theta, which stock can be made with."""
    config = DECODERS["gemma3"]
    models = [make_decoder(config) for _ in range(2)]
    theta, dim = compat.rope_theta(models[0].config), models[0].config.head_dim
    for made in models:
        made.config.max_position_embeddings = TOKENS // 2
    plain = log_probabilities(models[0], EXACT, ids)
    found = log_probabilities(models[0], Scheme(rope="ntk"), ids)
    longer = intp_ext.rope_frequencies("none", dim, base=theta * 2 ** (dim / (dim - 2)))
    rotary = models[1].model.rotary_emb
    rotary_frequencies = frequencies_of(rotary)
    rotary_frequencies.copy_(longer.inv_freq)
    torch.testing.assert_close(found, log_probabilities(models[1], EXACT, ids))
    assert (found - plain).abs().max() > 1e-3
    assert torch.equal(log_probabilities(models[0], EXACT, ids), plain)


def test_a_text_within_the_trained_context_is_read_as_it_is(model, ids):
    exact = log_probabilities(model, EXACT, ids)
    assert torch.equal(log_probabilities(model, Scheme(rope="yarn"), ids), exact)


def test_the_continuation_is_that_of_generate(model, ids):
    found = Reader(model).continuation(EXACT, ids, 12)
    model.set_attn_implementation("sdpa")
    expected = model.generate(
        ids[None], attention_mask=torch.ones_like(ids[None]), max_new_tokens=12, do_sample=False
    )
    assert agreeing(found, expected[0, TOKENS:]) == 12


# ---- what is counted ----


def test_bytes_are_those_in_use():
    assert share_of_16_bits(EXACT, 640, 64) == 1
    assert share_of_16_bits(Scheme(4), 640, 64) == 0.25 + 1 / 64 + 1 / 64
    assert DTYPE.itemsize == 2


def test_names_say_what_differs():
    assert Scheme(4).name == "4 bits"
    assert Scheme(2, 128, 4, 128, 32).name == (
        "2 bits, recent 128, sink 4, key groups of 128, value groups of 32"
    )
    assert Scheme(4, backend="quanto").name == "4 bits, QuantizedCache"
    assert Scheme(4, backend="quanto_channel").name == "4 bits, QuantizedCache, keys per channel"
    assert Scheme(2, layers="full").name == "2 bits, full layers alone"
    assert Scheme(rope="yarn").name == "16 bits, RoPE yarn"
    assert Scheme(window=512, window_sink=4).name == "16 bits, window 512, window sink 4"


def test_compare():
    torch.manual_seed(0)
    exact, found = torch.randn(2, 2 * BLOCK, 7).log_softmax(-1)
    came = torch.randint(0, 7, (2 * BLOCK,))
    judged = compare(exact, found.split(30), came)
    kl = torch.nn.functional.kl_div(found, exact, reduction="none", log_target=True).sum(-1)
    nll = torch.nn.functional.nll_loss(found, came, reduction="none")
    more = nll - torch.nn.functional.nll_loss(exact, came, reduction="none")
    same = (found.argmax(-1) == exact.argmax(-1)).float()
    for name, values in (("kl", kl), ("nll", nll), ("more", more), ("same", same)):
        expected = values.view(2, BLOCK).mean(1).tolist()
        assert judged[name] == pytest.approx(expected, abs=1e-6), name


def test_together():
    blocks = {"nll": [1.0, 3.0], "more": [0.0, 0.2], "kl": [0.1, 0.3], "same": [1.0, 0.5]}
    found = together([{"text": "a", **blocks}, {"text": "b", **blocks}])
    assert found["perplexity"] == pytest.approx(math.exp(2))
    assert found["increase"]["mean"] == pytest.approx(math.expm1(0.1))
    # standard error of four values 0, .2, 0, .2
    assert found["increase"]["high"] == pytest.approx(math.expm1(0.1 + 1.959964 * 0.2 / 12**0.5))
    assert found["kl"]["mean"] == pytest.approx(0.2) and found["same"]["high"] <= 1


def test_agreeing():
    assert agreeing(torch.tensor([1, 2, 3]), torch.tensor([1, 2, 3])) == 3
    assert agreeing(torch.tensor([1, 5, 3]), torch.tensor([1, 2, 3])) == 1


# ---- texts ----


@pytest.mark.parametrize("name", SOURCES)
def test_texts_are_installed_long_and_recorded(name):
    found = text(name)
    about = found.about()
    assert found == text(name) and len(found.content) > 40_000
    assert about["sha256"] == hashlib.sha256(found.content.encode()).hexdigest()
    assert about["kind"] in ("prose", "code", "licence") and "/" not in about["source"]


def test_a_text_that_is_too_short_is_refused():
    def tokenizer(content, **options):
        return type("Encoded", (), {"input_ids": torch.arange(5)[None]})

    found = text("argparse")
    assert found.tokens(tokenizer, 3).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="argparse: expected 6 tokens, got 5"):
        found.tokens(tokenizer, 6)


# ---- the command ----


def test_without_the_packages_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(decoder, "PACKAGES", ("json", "a_package_of_tomorrow"))
    assert command.main([]) == 0
    assert capsys.readouterr().err == (
        'skipped: a_package_of_tomorrow not installed: pip install "intp-ext[bench]"\n'
    )


def test_without_the_peer_it_goes_on(model, monkeypatch, capsys):
    monkeypatch.setattr(decoder, "PACKAGES", ("json",))
    monkeypatch.setattr(decoder, "QUANTO_PACKAGES", ("a_peer_of_tomorrow",))
    monkeypatch.setattr(decoder, "load", lambda dtype: (model, Characters()))
    arguments = ["--lengths", "128", "--scored", "64", "--texts", "argparse", "--bits", "4"]
    assert command.main([*arguments, "--recent", "100", "--sink", "2"]) == 0
    said = capsys.readouterr()
    assert "QuantizedCache left out: a_peer_of_tomorrow not installed" in said.err
    assert len(said.out.splitlines()) == 2 and "QuantizedCache" not in said.out


@pytest.mark.parametrize("scored", ["0", "100", "2048"])
def test_what_cannot_be_scored_is_refused(scored, capsys):
    with pytest.raises(SystemExit):
        command.main(["--lengths", "2048", "--scored", scored])
    assert "--scored: expected a multiple of 64 below --lengths" in capsys.readouterr().err


class Characters:
    """A tokenizer."""

    def __call__(self, content, return_tensors):
        ids = torch.tensor([[ord(c) % 120 for c in content[:1000]]])
        return type("Encoded", (), {"input_ids": ids})


def test_a_run_its_file_and_what_it_goes_on_with(model, monkeypatch, tmp_path, capsys):
    path = tmp_path / "real.json"
    arguments = ["--lengths", "192", "--scored", "128", "--texts", "argparse", "--quanto"]
    arguments += ["--recent", "0", "--sink", "0", "--json", str(path), "--new-tokens", "3"]
    monkeypatch.setattr(decoder, "missing", lambda *packages: None)
    monkeypatch.setattr(decoder, "load", lambda dtype: (model, Characters()))
    assert command.main([*arguments, "--bits", "4"]) == 0
    first = json.loads(path.read_text())
    assert [x["scheme"]["bits"] for x in first["records"]] == [16, 4]
    assert command.main([*arguments, "--bits", "4", "2"]) == 0
    second = json.loads(path.read_text())
    assert second["records"][:2] == first["records"] and len(second["records"]) == 3
    assert second["about"]["commands"][:1] == first["about"]["commands"]
    assert second["about"]["commands"][1].endswith("--json real.json --new-tokens 3 --bits 4 2")
    names = [row["name"] for row in second["summary"]]
    assert names == ["16 bits, chunks of 128", "4 bits", "2 bits"]
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert all(name in line for name, line in zip(names, lines, strict=True))
    with pytest.raises(ValueError, match="another scored"):
        Records(path, {**second["about"], "scored": 64})
    with pytest.raises(ValueError, match="another torch"):
        Records(path, {**second["about"], "torch": "0.1"})
    changed = [{**x, "sha256": "0"} for x in second["about"]["texts"]]
    with pytest.raises(ValueError, match="'argparse' is another one now"):
        Records(path, {**second["about"], "texts": changed})
