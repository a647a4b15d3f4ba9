"""The default cache writes new keys behind the earlier ones, and is an ordinary cache to others."""

from __future__ import annotations

import copy
import pickle

import intp_video
import pytest
import torch
from hf.tiny_model import cache_of, make_inputs, make_model, with_cache
from intp_video.hook.cache import kv_cache_bytes
from transformers import DynamicCache

TOLERANCE = 2e-5
IDS = torch.tensor([[9, 11, 13, 15, 17, 19]])


def answer(model, cache, ids, start):
    """Logits of one token after the other."""
    positions = torch.arange(start, start + ids.shape[1])
    steps = []
    for token, position in zip(ids[0], positions, strict=True):
        arguments = {"input_ids": token.view(1, 1), "position_ids": position.view(1, 1)}
        steps.append(model(**arguments, **with_cache(model, cache)).logits[0, -1])
    return torch.stack(steps)


def assert_as_stock(model, run, rtol=0.0, atol=TOLERANCE):
    stock = run()
    with intp_video.extend(model, 8, rope="none"):
        torch.testing.assert_close(run(), stock, rtol=rtol, atol=atol)


@pytest.fixture
def asked():
    """A model, its inputs, and what stock makes of them and of some tokens after them."""
    model, inputs = make_model(), make_inputs(8, texts=((6, 4),))
    with torch.no_grad():
        cache = cache_of(model(**inputs))
        expected = answer(model, cache, IDS, inputs["input_ids"].shape[1])
    return model, inputs, expected


@torch.no_grad()
def test_tokens_are_written_where_the_prompt_lies(asked):
    model, inputs, expected = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        before = [(layer.keys, layer.values) for layer in cache.layers]
        ours = answer(model, cache, IDS, length)
        for layer, (keys, values) in zip(cache.layers, before, strict=True):
            assert layer.keys.data_ptr() == keys.data_ptr()
            assert layer.values.data_ptr() == values.data_ptr()
            assert layer.keys.shape[2] == length + IDS.shape[1]
            assert torch.equal(layer.keys[:, :, :length], keys)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def replace_by_copies(cache):
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.clone(), layer.values.clone()


def offload(cache):
    for layer in cache.layers:
        layer.offload()
        layer.prefetch()


def fork(cache):
    """Layers of their own over the same tensors."""
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    return other


def crop(cache):
    cache.crop(-2)


CHANGES = {
    "replaced": replace_by_copies,
    "offloaded": offload,
    "reordered": lambda cache: cache.reorder_cache(torch.tensor([0])),
    "repeated": lambda cache: cache.batch_repeat_interleave(1),
    "cropped": crop,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@torch.no_grad()
def test_what_others_do_to_it_counts(asked, change):
    """In between: two tokens, the change, two more (those that a crop took, again)."""
    model, inputs, expected = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        first = answer(model, cache, IDS[:, :2], length)
        change(cache)
        begin = cache.get_seq_length() - length
        ours = answer(model, cache, IDS[:, begin:], length + begin)
    torch.testing.assert_close(first, expected[:2], rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ours, expected[begin:], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_keys_that_somebody_kept_are_not_overwritten(asked):
    """Not after a crop either, which forgets tokens that others may still read."""
    model, inputs, _ = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        answer(model, cache, IDS, length)
        kept = [layer.keys for layer in cache.layers]
        before = [keys.clone() for keys in kept]
        crop(cache)
        answer(model, cache, IDS.flip(1), length + IDS.shape[1] - 2)
    for keys, expected in zip(kept, before, strict=True):
        assert torch.equal(keys, expected)


@torch.no_grad()
def test_copies_do_not_share_memory(asked):
    model, inputs, expected = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        other = copy.deepcopy(cache)
        answer(model, other, IDS.flip(1), length)
        ours = answer(model, cache, IDS, length)
        again = answer(model, copy.deepcopy(cache), IDS[:, :1], length + IDS.shape[1])
        assert torch.isfinite(again).all()
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_it_goes_on_without_the_extension_and_with_it_again(asked):
    model, inputs, expected = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        ours = [answer(model, cache, IDS[:, :2], length)]
    ours.append(answer(model, cache, IDS[:, 2:4], length + 2))
    with intp_video.extend(model, 8, rope="none"):
        ours.append(answer(model, cache, IDS[:, 4:], length + 4))
    torch.testing.assert_close(torch.cat(ours), expected, rtol=0, atol=TOLERANCE)


def edited(layer):
    layer.values = layer.values * 2


def edited_in_place(layer):
    layer.values.mul_(2)
    layer.keys[:, :, 3] = 0


def in_another_layout(layer):
    layer.keys = layer.keys.transpose(2, 3).contiguous().transpose(2, 3)


EDITS = {"values": edited, "in place": edited_in_place, "another layout": in_another_layout}
COPIES = {"itself": lambda x: x, "pickle": lambda x: pickle.loads(pickle.dumps(x)), "copy": fork}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@torch.no_grad()
def test_edits_of_keys_and_values_count(asked, edit, copied):
    model, inputs, _ = asked
    length = inputs["input_ids"].shape[1]

    def run():
        cache = copied(cache_of(model(**inputs)))
        first = answer(model, cache, IDS[:, :1], length)
        for layer in cache.layers:
            edit(layer)
        return torch.cat((first, answer(model, cache, IDS[:, 1:], length + 1)))

    assert_as_stock(model, run, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_forks_go_on_by_themselves(asked):
    model, inputs, expected = asked
    length = inputs["input_ids"].shape[1]
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        answer(model, fork(cache), IDS.flip(1), length)
        ours = answer(model, cache, IDS, length)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_cached_values_that_require_grad_get_it(asked):
    model, inputs, _ = asked
    model.requires_grad_(False)
    model.lm_head.weight.requires_grad_()

    def gradient():
        with torch.no_grad():
            cache = cache_of(model(**inputs))
        for layer in cache.layers:
            layer.values.requires_grad_()
        leaves = [layer.values for layer in cache.layers]
        answer(model, cache, IDS, inputs["input_ids"].shape[1]).square().sum().backward()
        return [leaf.grad for leaf in leaves]

    assert_as_stock(model, gradient, rtol=1e-3, atol=1e-3)


def test_one_backward_through_several_passes_over_one_cache(asked):
    model, inputs, _ = asked
    model.requires_grad_(False)
    projections = [layer.self_attn.q_proj for layer in model.model.language_model.layers]
    for projection in projections:
        projection.weight.requires_grad_()

    def gradient():
        model.zero_grad()
        cache = DynamicCache()
        ids = inputs["input_ids"][:, :3]
        logits = model(input_ids=ids, **with_cache(model, cache)).logits.square().sum()
        (logits + answer(model, cache, IDS, 3).square().sum()).backward()
        return [projection.weight.grad.clone() for projection in projections]

    assert_as_stock(model, gradient, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_token_of_another_dtype(asked):
    model, inputs, _ = asked
    length = inputs["input_ids"].shape[1]

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            cache = cache_of(model(**inputs))
        return answer(model, cache, IDS, length)

    assert_as_stock(model, run, rtol=0, atol=0.05)


def test_autograd_sees_what_it_saw_before(asked):
    """Keys that are derived lie in memory of their own: nothing is written over them."""
    model, inputs, _ = asked
    embeds = model.get_input_embeddings()(inputs["input_ids"][:, :3]).detach().requires_grad_()
    more = model.get_input_embeddings()(IDS).detach()

    def gradient():
        embeds.grad = None
        cache = DynamicCache()
        first = model(inputs_embeds=embeds, **with_cache(model, cache)).logits
        second = model(inputs_embeds=more, **with_cache(model, cache)).logits
        (first.sum() + second.square().sum()).backward()
        return embeds.grad

    assert_as_stock(model, gradient, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_bytes(asked):
    model, inputs, _ = asked
    with intp_video.extend(model, 8, rope="none"):
        cache = cache_of(model(**inputs))
        used, reserved = kv_cache_bytes(cache)
        keys = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert used == keys < reserved
