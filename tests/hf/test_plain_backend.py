"""``attn_implementation="intp"`` on decoders that are not extended: equal to eager."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import intp_video
import pytest
import torch
import transformers
from hf.stock import step_logits
from hf.tiny_decoders import DECODERS, OWN_MASKS, make_decoder, make_tokens
from hf.tiny_families import FAMILIES
from intp_video import ModelError, compat
from intp_video.backend import arguments, attention, fallback
from transformers import CompileConfig, DynamicCache

TOLERANCE = 5e-6
PADDING = 9


def prefill(model):
    return model(make_tokens()["input_ids"]).logits


def without_a_cache(model):
    return model(**make_tokens(padding=PADDING), use_cache=False).logits[:, PADDING:]


def padded(model):
    return model(**make_tokens(padding=PADDING)).logits[:, PADDING:]


def generated(model):
    return step_logits(model, make_tokens(padding=PADDING))


def generated_over_a_static_cache(model):
    return step_logits(model, make_tokens(padding=PADDING), cache_implementation="static")


def in_chunks(model):
    """Chunks that end before, in and after the first window, one of a single token."""
    ids = make_tokens()["input_ids"]
    cache = DynamicCache(config=model.config)
    name = compat.cache_argument(model.forward)
    parts = [
        model(ids[:, start:end], **{name: cache}, use_cache=True).logits
        for start, end in ((0, 7), (7, 20), (20, 21), (21, 30))
    ]
    return torch.cat(parts, dim=1)


WAYS = [prefill, without_a_cache, padded, generated, generated_over_a_static_cache, in_chunks]


# 4.57: a static cache has values as wide as keys.
NOT_IN_STOCK = (
    {("deepseek_v3", generated_over_a_static_cache)}
    if transformers.__version__.startswith("4.")
    else set()
)


@functools.cache
def decoder(name):
    return make_decoder(DECODERS[name])


def only_our_kernels(monkeypatch):
    def say(why):
        raise AssertionError(why)

    monkeypatch.setattr(fallback, "_say", say)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", DECODERS)
def test_equals_eager(name, way, monkeypatch):
    model = decoder(name)
    if (name, way) in NOT_IN_STOCK:
        pytest.skip("a stock model fails here in this transformers")
    if name not in OWN_MASKS:
        only_our_kernels(monkeypatch)
    with torch.no_grad():
        model.set_attn_implementation("eager")
        eager = way(model)
        model.set_attn_implementation("intp")
        ours = way(model)
    largest = max(1.0, eager.abs().max().item())
    torch.testing.assert_close(ours, eager, rtol=0, atol=TOLERANCE * largest)


@pytest.mark.parametrize("name", ["llama", "qwen2", "llama4"])
def test_gradients_equal_those_of_eager(name):
    model, tokens = decoder(name), make_tokens()
    gradients = []
    for implementation in ("eager", "intp"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        model(**tokens, labels=tokens["input_ids"]).loss.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        )
    eager, ours = gradients
    assert eager.keys() == ours.keys()
    for key, expected in eager.items():
        torch.testing.assert_close(ours[key], expected, rtol=1e-4, atol=TOLERANCE, msg=key)


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_under_autocast(name):
    model = decoder(name)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.set_attn_implementation("sdpa")
        stock = prefill(model)
        model.set_attn_implementation("intp")
        ours = prefill(model)
    torch.testing.assert_close(ours, stock, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_generate_compiles_the_decode_step(name, monkeypatch):
    """Its masks are made outside of the graph, so windows are known in it."""
    only_our_kernels(monkeypatch)
    model = make_decoder(DECODERS[name])
    config = CompileConfig(fullgraph=True, dynamic=False, backend="eager", mode=None)
    config._compile_all_devices = True  # otherwise on a GPU only
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    options = {"cache_implementation": "static", "compile_config": config}
    ours = step_logits(model, make_tokens(padding=PADDING), **options)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    torch.testing.assert_close(ours, generated(eager_like(model)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_a_compiled_forward(name):
    """The graph makes its masks itself, of sliding windows for torch's attention."""
    model = decoder(name)
    torch._dynamo.reset()
    tokens = make_tokens(padding=PADDING)
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        model.set_attn_implementation("intp")
        ours = compiled(**tokens, use_cache=False).logits[:, PADDING:]
        model.set_attn_implementation("eager")
        eager = without_a_cache(model)
    torch.testing.assert_close(ours, eager, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("name", "argument"), [("gemma2", "softcap"), ("gpt_oss", "s_aux")])
def test_what_a_compiled_forward_cannot_compute_names_compile(name, argument):
    """Outside of a graph, where windows are known, our kernels compute it."""
    model, tokens = make_decoder(DECODERS[name]), make_tokens()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    with (
        torch.no_grad(),
        pytest.raises(ModelError, match=rf"takes {argument}: .* in a graph of torch\.compile"),
    ):
        compiled(**tokens, use_cache=False)


def test_a_compiled_forward_refuses_padding_between_kept_tokens():
    model, tokens = make_decoder(DECODERS["llama"]), make_tokens()
    tokens["attention_mask"][0, 3] = 0
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch._dynamo.reset()
    with torch.no_grad(), pytest.raises(RuntimeError, match="padding between kept tokens"):
        compiled(**tokens, use_cache=False)


def eager_like(model):
    copy = type(model)._from_config(model.config, attn_implementation="eager").eval()
    copy.load_state_dict(model.state_dict())
    return copy


# -- what torch computes instead ------------------------------------------------------------------


@pytest.fixture
def said(monkeypatch):
    """What is said, each line once."""
    lines = []
    monkeypatch.setattr(fallback, "_say", functools.cache(lines.append))
    return lines


def both(model, **inputs):
    with torch.no_grad():
        model.set_attn_implementation("eager")
        eager = model(**inputs).logits
        model.set_attn_implementation("intp")
        return model(**inputs).logits, eager


def test_padding_between_kept_tokens_goes_to_torch_and_is_said_once(said):
    model, tokens = decoder("qwen2"), make_tokens()
    tokens["attention_mask"][0, 5:8] = 0
    for _ in range(2):
        ours, eager = both(model, **tokens)
        seen = tokens["attention_mask"].bool()
        torch.testing.assert_close(ours[seen], eager[seen], rtol=0, atol=TOLERANCE)
    assert [line for line in said if line.startswith("padding between kept tokens")] == [said[0]]
    assert len(said) == 2, said  # and that a mask is explicit


def test_a_right_padded_batch_generates_as_eager(said):
    model, tokens = decoder("llama"), make_tokens()
    tokens["attention_mask"][0, -4:] = 0
    model.set_attn_implementation("eager")
    eager = step_logits(model, tokens)
    model.set_attn_implementation("intp")
    torch.testing.assert_close(step_logits(model, tokens), eager, rtol=0, atol=TOLERANCE)
    assert said


def test_a_mask_of_the_user_goes_to_torch(said):
    model, tokens = decoder("llama"), make_tokens()
    mask = torch.rand(2, 1, 30, 30, generator=torch.Generator().manual_seed(0)) < 0.6
    mask |= torch.eye(30, dtype=torch.bool)
    added = torch.where(mask, 0.0, -torch.inf)
    ours, eager = both(model, input_ids=tokens["input_ids"], attention_mask=added)
    torch.testing.assert_close(ours, eager, rtol=0, atol=TOLERANCE)
    assert said == ["an explicit mask is computed by torch's attention"]


def test_packed_sequences_go_to_torch(said):
    model, ids = decoder("llama"), make_tokens(1)["input_ids"]
    positions = torch.cat((torch.arange(11), torch.arange(19)))[None]
    ours, eager = both(model, input_ids=ids, position_ids=positions, use_cache=False)
    torch.testing.assert_close(ours, eager, rtol=0, atol=TOLERANCE)
    assert any("packed" in line or "and_masks" in line for line in said)


def test_a_vision_tower_goes_to_torch(said):
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    model = transformers.CLIPVisionModel(config).eval()
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.set_attn_implementation("eager")
        eager = model(pixels).last_hidden_state
        model.set_attn_implementation("intp")
        ours = model(pixels).last_hidden_state
    torch.testing.assert_close(ours, eager, rtol=0, atol=TOLERANCE)
    assert len(said) == len(set(said)) > 0


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "argument"), [("gemma2", "softcap"), ("gpt_oss", "s_aux")])
def test_what_torch_would_leave_out_is_refused(name, argument):
    tokens = make_tokens()
    tokens["attention_mask"][0, 5:8] = 0
    model = make_decoder(DECODERS[name])
    with torch.no_grad(), pytest.raises(ModelError, match=f"takes {argument}: .* an explicit mask"):
        model(**tokens)


def layer(**attributes):
    module = torch.nn.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


STATES = [torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]


@pytest.mark.parametrize("name", [*arguments.REFUSED, "an_argument_of_tomorrow"])
def test_an_argument_that_changes_the_result_is_refused(name):
    with pytest.raises(ModelError, match=f"takes {name}: "):
        attention.intp_attention(layer(), *STATES, None, **{name: torch.ones(1)})
    for no in (None, False):
        attention.intp_attention(layer(), *STATES, None, **{name: no})


def test_dropout_is_refused_by_our_kernels_alone():
    with pytest.raises(ModelError, match=r"dropout 0\.5"):
        attention.intp_attention(layer(), *STATES, None, dropout=0.5)
    attention.intp_attention(layer(is_causal=False), *STATES, None, dropout=0.5)


def test_no_mask_is_causal_where_the_layer_is():
    sdpa = torch.nn.functional.scaled_dot_product_attention
    for causal in (True, False):
        expected = sdpa(*STATES, is_causal=causal).transpose(1, 2)
        for given in ({"is_causal": causal}, {}):
            module = layer() if given else layer(is_causal=causal)
            ours, _ = attention.intp_attention(module, *STATES, None, **given)
            torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_attention_weights_are_refused():
    with pytest.raises(ModelError, match="output_attentions: attention weights are never built"):
        decoder("llama")(make_tokens()["input_ids"], output_attentions=True)


def logits_of(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


# -- how it is reached ----------------------------------------------------------------------------


def test_from_pretrained(tmp_path):
    decoder("llama").save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="intp")
    assert model.config._attn_implementation == "intp"
    torch.testing.assert_close(prefill(model), prefill(eager_like(model)), rtol=0, atol=TOLERANCE)


def test_a_model_with_attention_of_its_own_fails_rather_than_add_our_mask():
    """Bloom adds what its mask function returns to its scores: 32 numbers, if it were numbers."""
    config = transformers.BloomConfig(hidden_size=64, n_layer=1, n_head=4, vocab_size=120)
    model = transformers.BloomForCausalLM._from_config(config, attn_implementation="intp").eval()
    stock = transformers.BloomForCausalLM._from_config(config, attn_implementation="eager").eval()
    stock.load_state_dict(model.state_dict())
    tokens = make_tokens(1, 32)
    try:
        logits = model(**tokens).logits
    except RuntimeError as error:
        assert "Float8" in str(error)
    else:  # 4.57 makes a mask that it knows
        torch.testing.assert_close(logits, stock(**tokens).logits, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_video_model_on_it_is_extended_and_restored_as_any_other(family):
    """Its vision tower asks for masks too, in the pass of the extended decoder."""
    model, inputs = family.make_model(), family.make_inputs(8)
    model.set_attn_implementation("eager")
    eager = logits_of(model, inputs)
    model.set_attn_implementation("intp")
    plain = logits_of(model, inputs)
    with intp_video.extend(model, 8, rope="none"):
        extended = logits_of(model, inputs)
    for ours in (plain, extended, logits_of(model, inputs)):
        torch.testing.assert_close(ours, eager, rtol=0, atol=10 * TOLERANCE)


# -- the page that says so ------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "backend.md").read_text()


def test_the_page_has_every_argument():
    written = re.findall(r"^\| `(\w+)` \| (used|ignored|refused) \| (.*) \|$", PAGE, re.M)
    known = [
        (name, fate, why)
        for fate in ("used", "ignored", "refused")
        for name, why in getattr(arguments, fate.upper()).items()
    ]
    assert written == known


def test_the_page_names_every_decoder():
    (listed,) = re.findall(r"random models\s+of: (.*?)\. Each", PAGE, re.S)
    assert re.findall(r"`(\w+)`", listed) == list(DECODERS)
