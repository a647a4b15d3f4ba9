"""Each contract with transformers, broken in turn: an error that names it, and nothing left behind.

The breaches are what a new release might do: rename, drop, bypass, add.
"""

from __future__ import annotations

import functools
import sys
from itertools import pairwise

import intp_video
import pytest
import torch
from hf.tiny_model import BOS, VIDEO, cache_of, make_inputs, make_model, with_cache
from intp_video import ModelError, compat
from intp_video.backend.carrier import make_carrier
from transformers import AttentionMaskInterface, DynamicCache

VARIANTS = [
    {},
    {"fused": False},
    {"rearrange": "attention"},
    {"window": 2},
    {"kv_bits": 4},
    {"kv_rotate": "on_read"},
]


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request):
    return {"frames": 8, "rope": "none", **request.param}


def text(model):
    return model.model.language_model


def lose_the_cache(model, monkeypatch):
    """The decoder no longer knows its cache by the name that it is given."""
    forward = text(model).forward
    name = compat.cache_argument(forward)

    def renamed(*args, **kwargs):
        kwargs.pop(name, None)
        return forward(*args, **kwargs)

    monkeypatch.setattr(text(model), "forward", renamed)


def return_another_cache(model, monkeypatch):
    forward = text(model).forward

    def copied(*args, **kwargs):
        output = forward(*args, **kwargs)
        for name in ("cache", "past_key_values"):
            if name in output:
                output[name] = DynamicCache(config=model.config.text_config)
        return output

    monkeypatch.setattr(text(model), "forward", copied)


def put_mask_function(monkeypatch, function):
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "intp", function)


def drop_the_mask_function(model, monkeypatch):
    monkeypatch.delitem(AttentionMaskInterface._global_mapping, "intp")


def keep_the_mask_of_an_earlier_pass(model, monkeypatch):
    """A mask that looks like ours, and is not of this pass."""
    stale = make_carrier(None, 0, 9, 9, 1, model.device)
    put_mask_function(monkeypatch, lambda *args, **kwargs: stale)


def lose_the_padding(model, monkeypatch):
    """The mask function is no longer given the padding of the batch."""
    mask = AttentionMaskInterface._global_mapping["intp"]

    def without(*args, **kwargs):
        return mask(*args, **{**kwargs, "attention_mask": None})

    put_mask_function(monkeypatch, without)


def rename_an_argument_of_masks(model, monkeypatch):
    """As 5.4 did: the mask function is told by another name which rows it is asked for."""
    mask = AttentionMaskInterface._global_mapping["intp"]

    def renamed(*args, **kwargs):
        for name in ("q_offset", "cache_position"):
            if name in kwargs:
                kwargs[f"new_{name}"] = kwargs.pop(name)
        return mask(*args, **kwargs)

    put_mask_function(monkeypatch, renamed)


def masks_have_a_new_argument(model, monkeypatch):
    mask = AttentionMaskInterface._global_mapping["intp"]
    put_mask_function(
        monkeypatch,
        lambda *args, **kwargs: mask(*args, **kwargs, block_sequence_ids=torch.ones(1)),
    )


def ask_for_the_mask_of_another_row(model, monkeypatch):
    mask = AttentionMaskInterface._global_mapping["intp"]

    def shifted(*args, **kwargs):
        name = "q_offset" if "q_offset" in kwargs else "cache_position"
        return mask(*args, **{**kwargs, name: kwargs[name] + 1})

    put_mask_function(monkeypatch, shifted)


def replace_rotary_emb(model, monkeypatch):
    config = model.config.text_config
    text(model).rotary_emb = type(make_model().model.language_model.rotary_emb)(config)


def ask_for_angles_in_every_layer(model, monkeypatch):
    for layer in text(model).layers:
        forward = layer.self_attn.forward

        def own_angles(*args, forward=forward, **kwargs):
            hidden = kwargs["hidden_states"]
            positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
            angles = text(model).rotary_emb(hidden, positions)
            return forward(*args, **{**kwargs, "position_embeddings": angles})

        monkeypatch.setattr(layer.self_attn, "forward", own_angles)


def bypass_get_video_features(model, monkeypatch):
    outer = model.model
    original = functools.partial(type(outer).get_video_features, outer)
    monkeypatch.setattr(
        outer, "get_video_features", functools.wraps(outer.get_video_features)(original)
    )


def a_layer_attends_by_itself(model, monkeypatch):
    """It no longer calls the attention interface."""
    attention = text(model).layers[1].self_attn

    def by_itself(hidden_states, **kwargs):
        return torch.zeros_like(hidden_states), None

    monkeypatch.setattr(attention, "forward", by_itself)


def a_layer_attends_twice(model, monkeypatch):
    attention = text(model).layers[1].self_attn
    forward = attention.forward

    def twice(*args, **kwargs):
        forward(*args, **kwargs)
        return forward(*args, **kwargs)

    monkeypatch.setattr(attention, "forward", twice)


def a_layer_leaves_out_the_cache(model, monkeypatch):
    attention = text(model).layers[1].self_attn
    forward = attention.forward
    name = compat.cache_argument(forward)

    def uncached(*args, **kwargs):
        return forward(*args, **{**kwargs, name: None})

    monkeypatch.setattr(attention, "forward", uncached)


def the_interface_has_a_new_argument(model, monkeypatch):
    attention = text(model).layers[1].self_attn
    forward = attention.forward

    def with_argument(*args, **kwargs):
        return forward(*args, **kwargs, temperature=torch.ones(1))

    monkeypatch.setattr(attention, "forward", with_argument)


def the_rotation_goes_by_another_name(model, monkeypatch):
    """A partial rotation: it takes cos of no width for "rotate nothing"."""
    module = sys.modules[type(text(model)).__module__]

    def partial(q, k, cos, sin, *args, **kwargs):
        return q, k

    monkeypatch.setattr(module, "apply_rotary_pos_emb", partial)


BREACHES = {
    lose_the_cache: "did not return|without a mask or with packed keys",
    return_another_cache: "was given a DynamicCache and returned another one",
    drop_the_mask_function: "mask that was not made for this pass",
    keep_the_mask_of_an_earlier_pass: "mask that was not made for this pass",
    lose_the_padding: "was not given the padding of the batch",
    rename_an_argument_of_masks: "was not told which rows and keys",
    masks_have_a_new_argument: "masks of this model take block_sequence_ids",
    ask_for_the_mask_of_another_row: "rows from 1 on, in a pass of 51 rows after 0",
    replace_rotary_emb: "rotary_emb is not the extended one|keys that our rotary embedding",
    ask_for_angles_in_every_layer: "rotary embedding 3 times",
    bypass_get_video_features: "not encoded by the method that groups|encoded before this pass",
    a_layer_attends_by_itself: "not every decoder layer called .*layer 1: 0 times",
    a_layer_attends_twice: "layer 1",
    a_layer_leaves_out_the_cache: "layer 1 attends to keys that its cache layer did not return",
    the_interface_has_a_new_argument: "takes temperature",
    the_rotation_goes_by_another_name: "fused=False",
}


@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.__name__)
def test_a_breach_is_an_error(breach, variant, monkeypatch):
    if breach is the_rotation_goes_by_another_name and variant.get("fused") is False:
        pytest.skip("breaches of the fused rotation, tried unfused")
    model = make_model()
    inputs = make_inputs(8)
    with intp_video.extend(model, **variant), monkeypatch.context() as patch:
        breach(model, patch)
        with pytest.raises(ModelError, match=BREACHES[breach]) as caught:
            model.generate(**inputs, max_new_tokens=3, do_sample=False)
    if " take" not in f" {BREACHES[breach]}":
        assert f"transformers {compat.transformers_version()}" in str(caught.value)
    with intp_video.extend(model, **variant):
        model.generate(**inputs, max_new_tokens=3, do_sample=False)


STATIC = [
    drop_the_mask_function,
    keep_the_mask_of_an_earlier_pass,
    replace_rotary_emb,
    a_layer_attends_by_itself,
    the_interface_has_a_new_argument,
    bypass_get_video_features,
]


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("breach", STATIC, ids=lambda breach: breach.__name__)
def test_a_breach_over_a_static_cache_is_an_error(breach, fused, monkeypatch):
    model = make_model()
    inputs = make_inputs(8)
    with intp_video.extend(model, 8, rope="none", fused=fused), monkeypatch.context() as patch:
        breach(model, patch)
        with pytest.raises(ModelError, match=BREACHES[breach]):
            model.generate(**inputs, max_new_tokens=3, cache_implementation="static")


def test_an_outer_module_without_a_known_cache_is_refused(monkeypatch):
    model = make_model()
    forward = type(model.model).forward

    def renamed(self, input_ids=None, attention_mask=None, state=None, **kwargs):
        return forward(self, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", renamed)
    with pytest.raises(ModelError, match=r"no cache by a known name, only .*state"):
        intp_video.extend(model, 8)


def test_features_and_visual_tokens_are_counted(monkeypatch):
    """Where transformers no longer compares the two."""
    model = make_model()
    inputs = make_inputs(8)
    inputs["input_ids"][0, -1] = VIDEO
    monkeypatch.setattr(
        type(model.model),
        "get_placeholder_mask",
        lambda self, ids, inputs_embeds, **kwargs: (
            [(ids == VIDEO)[..., None].expand_as(inputs_embeds)] * 2
        ),
    )
    monkeypatch.setattr(torch.Tensor, "masked_scatter", lambda self, mask, source: self)
    with (
        intp_video.extend(model, 8, rope="none"),
        pytest.raises(ModelError, match="80 video features stand for 81 visual tokens"),
    ):
        model(**inputs)


def test_another_attention_implementation_names_the_way_out():
    model = make_model()
    inputs = make_inputs(8)
    with intp_video.extend(model, 8, rope="none"):
        model.set_attn_implementation("eager")
        with pytest.raises(ModelError, match=r"was set to eager, .*: restore\(\) first"):
            model(**inputs)


def test_an_encoder_without_a_class_token_is_refused(monkeypatch):
    model = make_model()
    stock = model.model.get_video_features

    @functools.wraps(stock)
    def patches_alone(*args, **kwargs):
        output = stock(*args, **kwargs)
        return compat.output_with_features(output, compat.pooled_features(output)[:, 1:], 8)

    monkeypatch.setattr(model.model, "get_video_features", patches_alone)
    with (
        intp_video.extend(model, 8, rope="none"),
        pytest.raises(ModelError, match="made 4 tokens of a frame, not the 5 of its config"),
    ):
        model(**make_inputs(8))


@pytest.mark.parametrize("bits", [16, 4, 2])
def test_a_pass_that_fails_leaves_the_cache_as_it_was(bits, monkeypatch):
    """A breach in the last layer, at lengths around the end of a packed group of 64."""
    model = make_model()
    ids = torch.randint(3, 60, (1, 140), generator=torch.Generator().manual_seed(0))
    ids[0, 0] = BOS
    ends = (0, 60, 65, 130, 140)
    with torch.no_grad(), intp_video.extend(model, 8, rope="none", kv_bits=bits):
        expected, cache = [], None
        for begin, end in pairwise(ends):
            output = model(input_ids=ids[:, begin:end], **with_cache(model, cache))
            cache = cache_of(output)
            expected.append(output.logits)
        cache = DynamicCache(config=model.config.text_config)
        for step, (begin, end) in enumerate(pairwise(ends)):
            chunk = {"input_ids": ids[:, begin:end], **with_cache(model, cache)}
            with monkeypatch.context() as patch:
                the_interface_has_a_new_argument(model, patch)
                with pytest.raises(ModelError, match="temperature"):
                    model(**chunk)
            assert cache.get_seq_length() == begin
            assert torch.equal(model(**chunk).logits, expected[step])


@pytest.mark.parametrize("bits", [16, 4])
def test_an_interrupt_in_the_middle_of_a_pass_leaves_the_cache_as_it_was(bits, monkeypatch):
    model = make_model()
    ids = torch.randint(3, 60, (1, 70), generator=torch.Generator().manual_seed(0))

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with torch.no_grad(), intp_video.extend(model, 8, rope="none", kv_bits=bits):
        cache = DynamicCache(config=model.config.text_config)
        arguments = with_cache(model, cache)
        layers = cache.layers
        monkeypatch.setattr(text(model).layers[1].mlp, "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(input_ids=ids[:, :60], **arguments)
        assert cache.layers is layers and cache.get_seq_length() == 0
        monkeypatch.undo()
        model(input_ids=ids[:, :60], **arguments)
        monkeypatch.setattr(text(model).layers[1], "forward", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(input_ids=ids[:, 60:], **arguments)
        monkeypatch.undo()
        assert [layer.get_seq_length() for layer in cache.layers] == [60, 60]
        ours = model(input_ids=ids[:, 60:], **arguments).logits
        again = cache_of(model(input_ids=ids[:, :60]))
        whole = model(input_ids=ids[:, 60:], **with_cache(model, again)).logits
    assert torch.equal(ours, whole)


def test_output_attentions_names_the_way_out():
    with intp_video.extend(make_model(), 8, rope="none") as handle:
        inputs = make_inputs(8)
        with pytest.raises(ModelError, match="attention weights are never built"):
            handle.model(**inputs, output_attentions=True)
