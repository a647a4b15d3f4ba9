"""Gradients through an extended model are those of the same model without checkpointing."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.tiny_model import cache_of, make_inputs, make_model, with_cache
from intp_video import ModelError

VARIANTS = [
    {},
    {"fused": False},
    {"rearrange": "attention"},
    {"window": 2},
    {"window": 2, "fused": False, "rearrange": "attention"},
    {"rope": "linear", "span": "visual", "factor": 2.0},
]


def gradients(variant, checkpointing=None, use_cache=None):
    """Of every parameter of the decoder's first layer, and of the projector."""
    model = make_model().train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable(checkpointing)
    inputs = make_inputs(16)
    with intp_video.extend(model, 16, **{"rope": "none", **variant}):
        logits = model(**inputs, use_cache=use_cache).logits
        logits.square().mean().backward()
    parts = (model.model.language_model.layers[0], model.model.multi_modal_projector)
    return [x.grad for part in parts for x in part.parameters()]


@pytest.mark.parametrize("use_reentrant", [True, False], ids=["reentrant", "saved-tensors"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradient_checkpointing(variant, use_reentrant):
    """The layers are called again when the pass is over."""
    expected = gradients(variant, use_cache=False)
    assert all(x.abs().max() > 0 for x in expected)
    for use_cache in (None, False):
        found = gradients(variant, {"use_reentrant": use_reentrant}, use_cache)
        torch.testing.assert_close(found, expected)


def test_gradient_checkpointing_takes_no_cache():
    model = make_model()
    with intp_video.extend(model, 8, rope="none"):
        with torch.no_grad():
            cache = cache_of(model(**make_inputs(8)))
        model.train().gradient_checkpointing_enable()
        ids = torch.full((2, 3), 7)
        with pytest.raises(ModelError, match=r"calls layers twice, got .*: pass none"):
            model(input_ids=ids, **with_cache(model, cache))


def test_a_model_in_training_mode_generates():
    """Before 5.17 at the latest, checkpointed layers then lose the cache: an error, here."""

    def generate():
        return model.generate(**inputs, **options)

    model = make_model()
    inputs, options = make_inputs(8), {"max_new_tokens": 5, "do_sample": False}
    expected = generate()
    model.train().gradient_checkpointing_enable()
    try:
        stock_is_right = torch.equal(generate(), expected)
    except RuntimeError:
        stock_is_right = False
    with intp_video.extend(model, 8, rope="none"):
        if stock_is_right:
            assert torch.equal(generate(), expected)
        else:
            with pytest.raises(ModelError, match="did not return"):
                generate()
