"""Padding wherever it stands: the stock model's logits, by every way of calling."""

from __future__ import annotations

import intp_video
import pytest
import torch
from hf.stock import step_logits
from hf.test_text_models import RIGHT, make
from hf.tiny_model import cache_of, make_inputs, make_model, with_cache
from transformers import DynamicCache, StaticCache

TOLERANCE = 2e-5
TEXTS = ["llama", "mistral-sliding", "qwen2-sliding"]


def with_a_hole():
    inputs = make_inputs(8)
    inputs["attention_mask"][0, 30] = 0
    return inputs


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_hole_in_the_prompt(name, fused):
    """A sliding window stays one when the padding is no interval."""
    model = make(RIGHT[name][0], **RIGHT[name][1])
    inputs = with_a_hole()
    kept = inputs["attention_mask"].bool()
    with torch.no_grad():
        stock = model(**inputs).logits[kept]
        with intp_video.extend(model, 8, rope="none", fused=fused):
            ours = model(**inputs).logits[kept]
    torch.testing.assert_close(ours, stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("cache", ["default", "dynamic", "static"])
@pytest.mark.parametrize("name", TEXTS)
def test_right_padding_and_an_answer(name, cache):
    model = make(RIGHT[name][0], **RIGHT[name][1])
    inputs = make_inputs(8, side="right")

    def ours_and_stock():
        options = {
            "default": dict,
            "dynamic": lambda: with_cache(model, DynamicCache()),
            "static": lambda: {"cache_implementation": "static"},
        }[cache]()
        return step_logits(model, inputs, **options)

    stock = step_logits(model, inputs)  # a stock static cache is off with windows in 4.57
    with intp_video.extend(model, 8, rope="none"):
        torch.testing.assert_close(ours_and_stock(), stock, rtol=0, atol=TOLERANCE)


def test_a_decoder_called_by_itself():
    model = make_model()
    states = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 0, 1, 1, 1], [1] * 6])
    decoder = model.model.language_model
    with torch.no_grad():
        stock = decoder(inputs_embeds=states, attention_mask=mask).last_hidden_state[mask.bool()]
        with intp_video.extend(model, 8, rope="none"):
            ours = decoder(inputs_embeds=states, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(ours[mask.bool()], stock, rtol=0, atol=TOLERANCE)


def test_a_mask_as_long_as_a_static_cache():
    model = make_model()
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 20, dtype=torch.long)
    mask[:, :6] = 1
    mask[0, 2] = 0

    def run():
        cache = StaticCache(config=model.config.text_config, max_cache_len=20)
        first = model(input_ids=ids[:, :6], attention_mask=mask, **with_cache(model, cache))
        longer = mask.clone()
        longer[:, 6:9] = 1
        rest = model(input_ids=ids[:, 6:], attention_mask=longer, **with_cache(model, cache))
        return torch.cat((first.logits[1:], rest.logits[1:]), dim=1), rest.logits[0]

    with torch.no_grad():
        stock = run()
        with intp_video.extend(model, 8, rope="none"):
            ours = run()
    for a, b in zip(ours, stock, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=TOLERANCE)


def test_a_hole_that_comes_with_one_token(monkeypatch):
    """On a GPU the first single token after a longer pass is looked at, those that follow are
    not: generate() adds no padding there."""
    model = make_model()
    ids = torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[0, 4] = 0

    def run():
        cache, logits = None, []
        for begin, end in ((0, 4), (4, 5), (5, 6)):
            output = model(
                input_ids=ids[:, begin:end],
                attention_mask=mask[:, :end],
                **with_cache(model, cache),
            )
            cache = cache_of(output)
            logits.append(output.logits)
        return logits[-1]

    with torch.no_grad():
        stock = run()
        with intp_video.extend(model, 8, rope="none"):
            torch.testing.assert_close(run(), stock, rtol=0, atol=TOLERANCE)


def test_packed_keys_need_the_padding_that_they_were_cached_with():
    """Padding holds anything in a packed cache: it cannot be shown later."""
    model = make_model()
    ids = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[0, :3] = 0
    with torch.no_grad(), intp_video.extend(model, 8, rope="none", kv_bits=8):
        cache = cache_of(model(input_ids=ids[:, :6], attention_mask=mask))
        with pytest.raises(intp_video.ModelError, match="got none: pass the mask of all"):
            model(input_ids=ids[:, 6:7], **with_cache(model, cache))
        wider = torch.ones(2, 7, dtype=torch.long)
        wider[0, 0] = 0
        with pytest.raises(intp_video.ModelError, match="shows padding that packed keys"):
            model(input_ids=ids[:, 6:7], attention_mask=wider, **with_cache(model, cache))
        assert cache.get_seq_length() == 6
