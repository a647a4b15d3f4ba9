"""After restore() the model, transformers and torch hold what they held before."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys

import intp_video
import intp_video.hook  # which registers its attention, once
import pytest
import torch
from hf.tiny_model import cache_of, make_inputs, make_model, with_cache
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

OPTIONS = [
    {},
    {"fused": False},
    {"rearrange": "attention", "window": 2},
    {"rope": "linear", "span": "visual"},
    {"rope": "dynamic_ntk"},
]


def everything(model: nn.Module, text: nn.Module | None = None) -> dict[str, object]:
    """Every tensor, attribute, hook and config entry of every module, and the globals we touch."""
    state: dict[str, object] = {}
    for name, module in model.named_modules():
        state[f"{name} id"] = id(module)
        for key, value in vars(module).items():
            if key in ("_parameters", "_buffers"):
                for tensor_name, tensor in value.items():
                    state[f"{name}.{tensor_name}"] = (
                        id(tensor),
                        None if tensor is None else tensor.clone(),
                    )
            elif key == "_modules":
                state[f"{name} children"] = list(value)
            elif key.endswith("_hooks") or key.endswith("_kwargs") or "hooks" in key:
                state[f"{name}.{key}"] = dict(value) if isinstance(value, dict) else value
            elif key == "config":
                state[f"{name}.config"] = (id(value), value.to_dict(), value._attn_implementation)
            elif isinstance(value, torch.Tensor):
                state[f"{name}.{key}"] = (id(value), value.clone())
            else:
                state[f"{name}.{key}"] = value
    text = model.model.language_model if text is None else text
    home = sys.modules[type(text).__module__]
    state["globals"] = {key: id(value) for key, value in vars(home).items()}
    state["attention"] = dict(AttentionInterface._global_mapping)
    state["masks"] = dict(AttentionMaskInterface._global_mapping)
    return state


def assert_same(now: dict[str, object], before: dict[str, object]) -> None:
    assert now.keys() == before.keys()
    for key, value in before.items():
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], torch.Tensor):
            assert now[key][0] == value[0], key
            assert torch.equal(now[key][1], value[1]), key
        else:
            assert now[key] == value, key


@pytest.mark.parametrize("options", OPTIONS)
def test_everything_is_what_it_was(model, options):
    inputs = make_inputs(16)
    model.generate(
        **make_inputs(8), max_new_tokens=2
    )  # transformers 5 hooks a model at its first pass
    before = everything(model)
    handle = intp_video.extend(model, 16, **options)
    model.generate(**inputs, max_new_tokens=3, do_sample=False)
    handle.restore()
    assert_same(everything(model), before)


def test_restored_after_an_error_inside(model):
    before = everything(model)
    with pytest.raises(ZeroDivisionError), intp_video.extend(model, 16):
        raise ZeroDivisionError
    assert_same(everything(model), before)


def test_restored_when_a_pass_is_interrupted(model):
    inputs = make_inputs(16)
    model.generate(**make_inputs(8), max_new_tokens=2)
    before = everything(model)
    with intp_video.extend(model, 16) as handle:
        handle.on_encode = _interrupt
        with pytest.raises(KeyboardInterrupt):
            model.generate(**inputs, max_new_tokens=3)
    assert_same(everything(model), before)


def _interrupt(done, total):
    raise KeyboardInterrupt


def test_a_failed_extend_leaves_nothing(model):
    del model.model.language_model.layers[1].self_attn
    before = everything(model)
    with pytest.raises(intp_video.ModelError, match="not a decoder of layers with self_attn"):
        intp_video.extend(model, 16)
    assert_same(everything(model), before)


def test_two_models_share_the_global_and_the_last_one_puts_it_back():
    gc.collect()  # models that other tests extended and dropped
    first, second = make_model(0), make_model(1)
    llama = sys.modules[type(first.model.language_model).__module__]
    original = llama.apply_rotary_pos_emb
    one, two = intp_video.extend(first, 16), intp_video.extend(second, 16)
    wrapped = llama.apply_rotary_pos_emb
    one.restore()
    assert llama.apply_rotary_pos_emb is wrapped is not original
    second.generate(**make_inputs(16), max_new_tokens=2)
    two.restore()
    assert llama.apply_rotary_pos_emb is original


def test_a_model_that_is_gone_leaves_no_global_wrapped():
    gc.collect()
    model = make_model(0)
    llama = sys.modules[type(model.model.language_model).__module__]
    original = llama.apply_rotary_pos_emb
    intp_video.extend(model, 16)
    assert llama.apply_rotary_pos_emb is not original
    del model
    gc.collect()
    assert llama.apply_rotary_pos_emb is original


def test_an_extended_model_does_not_touch_another():
    inputs = make_inputs(8)
    extended, other = make_model(0), make_model(1)
    with torch.no_grad():
        before = other(**inputs).logits
        with intp_video.extend(extended, 64, rope="linear"):
            assert torch.equal(other(**inputs).logits, before)


@pytest.mark.parametrize("first", [0, 1], ids=["in-order", "in-reverse"])
def test_two_models_of_one_config_do_not_touch_each_other(first):
    """transformers keeps the attention implementation in the config: ours is not written there."""
    models = [make_model(0), make_model(1)]
    other = type(models[0])(models[0].config).eval()
    other.load_state_dict(models[1].state_dict())
    models[1] = other
    assert models[0].model.language_model.config is other.model.language_model.config
    inputs = make_inputs(8)
    with torch.no_grad():
        stock = [model(**inputs).logits for model in models]
        one = intp_video.extend(models[0], 8, rope="none")
        assert torch.equal(models[1](**inputs).logits, stock[1])
        handles = [one, intp_video.extend(models[1], 8, rope="none")]
        for model, expected in zip(models, stock, strict=True):
            torch.testing.assert_close(
                model(**inputs).logits[:, -1], expected[:, -1], atol=1e-5, rtol=0
            )
        handles[first].restore()
        handles[1 - first].restore()
        for model, expected in zip(models, stock, strict=True):
            assert torch.equal(model(**inputs).logits, expected)


# Of a pickle, whichever part it meets first: our handle, or the rotation that is wrapped.
REFUSED = r"restore\(\) first|apply_rotary_pos_emb"


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        pickle.dumps,
        lambda model: torch.save(model, io.BytesIO()),
        lambda model: copy.deepcopy(model.model),
        lambda model: copy.deepcopy(model.model.language_model),
        lambda model: copy.deepcopy(model.model.language_model.layers[0]),
    ],
    ids=["deepcopy", "pickle", "save", "deepcopy-inner", "deepcopy-decoder", "deepcopy-layer"],
)
def test_an_extended_model_is_not_copied(model, copied):
    before = everything(model)
    with (
        intp_video.extend(model, 16),
        pytest.raises((intp_video.ModelError, pickle.PicklingError), match=REFUSED),
    ):
        copied(model)
    assert_same(everything(model), before)
    copy.deepcopy(model)


def test_a_part_that_is_not_copied_is_named(model):
    with (
        intp_video.extend(model, 16),
        pytest.raises(intp_video.ModelError, match="LlamaAttention belongs to an extended model"),
    ):
        copy.deepcopy(model.model.language_model.layers[0])


def test_a_cache_outlives_its_extension(model):
    """Keys are cached rotated: after restore() such a cache is an ordinary one."""
    inputs = make_inputs(8)
    with intp_video.extend(model, 8, rope="none"):
        first = model.generate(
            **inputs, max_new_tokens=4, return_dict_in_generate=True, do_sample=False
        )
    ids = torch.cat((first.sequences, torch.tensor([[21], [22]], device=model.device)), dim=1)
    mask = torch.ones_like(ids)
    mask[:, : inputs["attention_mask"].shape[1]] = inputs["attention_mask"]
    again = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 4, "do_sample": False}
    ours = model.generate(**with_cache(model, cache_of(first)), **again)
    stock_first = model.generate(
        **inputs, max_new_tokens=4, return_dict_in_generate=True, do_sample=False
    )
    assert torch.equal(ours, model.generate(**with_cache(model, cache_of(stock_first)), **again))


def test_restoring_twice_is_an_error(model):
    handle = intp_video.extend(model)
    handle.restore()
    with pytest.raises(intp_video.ModelError, match="restored already"):
        handle.restore()


def test_extending_twice_is_an_error(model):
    with intp_video.extend(model), pytest.raises(intp_video.ModelError, match="extended already"):
        intp_video.extend(model)


def test_frequencies_survive_a_change_of_dtype(model):
    with intp_video.extend(model, 32):
        before = model.model.language_model.rotary_emb.inv_freq.clone()
        model.half().float()
        assert torch.equal(model.model.language_model.rotary_emb.inv_freq, before)
