"""What a caller does to a cache between two passes is done to what the hook remembers of it."""

from __future__ import annotations

import copy

import intp_video
import pytest
import torch
from hf.test_text_models import RIGHT, make
from hf.tiny_model import cache_of, make_inputs, make_model, with_cache
from intp_video import ModelError
from transformers import DynamicCache, StaticCache

VISUAL = {"rope": "linear", "span": "visual", "factor": 2.0}
TOLERANCE = 2e-5


def two_rows():
    """Row 0 with a longer text before its video than row 1."""
    return make_inputs(8, texts=((6, 4), (2, 8)))


def ask(model, cache, rows, positions):
    token = torch.tensor([[9], [11]])[:rows]
    mask = torch.ones(rows, cache.get_seq_length() + 1, dtype=torch.long)
    return model(
        input_ids=token, attention_mask=mask, position_ids=positions, **with_cache(model, cache)
    ).logits


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda cache: cache.batch_select_indices(torch.tensor([1, 0])), [1, 0]),
        (lambda cache: cache.reorder_cache(torch.tensor([1, 0])), [1, 0]),
        (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
        (lambda cache: cache.batch_repeat_interleave(1), [0, 1]),
    ],
    ids=["select", "reorder", "select-one", "repeat"],
)
def test_rows_that_change_places(rotate, change, rows):
    """A row's video goes with it: text after it stands where that video ends."""
    model, inputs = make_model(), two_rows()
    length = inputs["input_ids"].shape[1]
    with torch.no_grad(), intp_video.extend(model, 8, kv_rotate=rotate, **VISUAL):
        positions = torch.full((2, 1), length)
        expected = []
        for row in rows:
            one = {name: x[row : row + 1] for name, x in inputs.items()}
            cache = cache_of(model(**one))
            expected.append(ask(model, cache, 1, positions[:1])[0])
        cache = cache_of(model(**inputs))
        change(cache)
        ours = ask(model, cache, len(rows), positions[: len(rows)])
    torch.testing.assert_close(ours[0], expected[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("rotate", ["on_write", "on_read"])
def test_a_cache_that_is_cropped_to_before_the_video(rotate):
    model, inputs = make_model(), make_inputs(8, texts=((6, 4),))
    ids = torch.randint(3, 60, (1, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), intp_video.extend(model, 8, kv_rotate=rotate, **VISUAL):
        start = cache_of(model(input_ids=inputs["input_ids"][:, :4]))
        expected = model(input_ids=ids, **with_cache(model, start)).logits
        cache = cache_of(model(**inputs))
        cache.crop(-(inputs["input_ids"].shape[1] - 4))
        assert cache.get_seq_length() == 4
        ours = model(input_ids=ids, **with_cache(model, copy.deepcopy(cache))).logits
        torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)
        again = {**inputs, "input_ids": inputs["input_ids"][:, 4:]}
        whole = model(**inputs).logits[:, -1]
        ours = model(**again, **with_cache(model, cache)).logits[:, -1]
    torch.testing.assert_close(ours, whole, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "later", [{"rope": "none"}, {**VISUAL, "factor": 4.0}, {"rope": "linear", "factor": 2.0}]
)
def test_a_cache_keeps_the_positions_it_began_with(later):
    model, inputs = make_model(), make_inputs(8, texts=((6, 4),))
    positions = torch.full((1, 1), inputs["input_ids"].shape[1])
    with torch.no_grad():
        with intp_video.extend(model, 8, **VISUAL):
            expected = ask(model, cache_of(model(**inputs)), 1, positions)
            cache = cache_of(model(**inputs))
        with intp_video.extend(model, 8, **later):
            ours = ask(model, cache, 1, positions)
    torch.testing.assert_close(ours, expected, rtol=0, atol=TOLERANCE)


def test_a_copy_of_a_static_cache_goes_on():
    """The recipe for a prompt that many questions share."""
    model, inputs = make_model(), make_inputs(8, texts=((6, 4),))

    def run():
        cache = StaticCache(config=model.config.text_config, max_cache_len=60)
        model(**inputs, **with_cache(model, cache))
        length = inputs["input_ids"].shape[1]
        mask = torch.ones(1, length + 1, dtype=torch.long)
        arguments = {"attention_mask": mask, "position_ids": torch.tensor([[length]])}
        if "cache_position" in model.forward.__wrapped__.__code__.co_varnames:
            arguments["cache_position"] = torch.tensor([length])
        return model(
            input_ids=torch.tensor([[9]]), **arguments, **with_cache(model, copy.deepcopy(cache))
        ).logits

    with torch.no_grad():
        stock = run()
        with intp_video.extend(model, 8, rope="none"):
            torch.testing.assert_close(run(), stock, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "options", [{"window": 2}, {"kv_rotate": "on_read"}, {"rearrange": "attention"}, {"kv_bits": 8}]
)
def test_what_a_sliding_window_in_every_layer_refuses(options):
    """From the config, with nothing touched."""
    model = make(RIGHT["mistral-sliding"][0], **RIGHT["mistral-sliding"][1])
    before = vars(model.model).copy()
    name = next(iter(options))
    said = f"extend: {name}: expected .* 2 of 2 layers have sliding_window=12"
    with pytest.raises(ValueError, match=said):
        intp_video.extend(model, 8, rope="none", **options)
    assert vars(model.model) == before


@pytest.mark.parametrize("kind", ["default", "without a config", "static"])
@pytest.mark.parametrize("rope", ["none", "yarn"])
def test_layers_that_see_everything_are_packed(kind, rope):
    """Beside those that see a sliding window, which keep their own cache; a few tokens are not
    packed yet, so that all must equal the cache of 16 bits."""
    model = make(RIGHT["qwen2-sliding"][0], **RIGHT["qwen2-sliding"][1])
    config = model.config.text_config
    made = {
        "default": lambda: DynamicCache(config=config),
        "without a config": DynamicCache,
        "static": lambda: StaticCache(config=config, max_cache_len=64),
    }[kind]
    found = {}
    for bits in (16, 8):
        inputs = make_inputs(8, texts=((6, 4),))
        factor = {} if rope == "none" else {"factor": 4.0}
        with torch.no_grad(), intp_video.extend(model, 8, rope=rope, kv_bits=bits, **factor):
            cache = made()
            whole = model(**inputs, **with_cache(model, cache)).logits
            position = torch.tensor([[cache.get_seq_length()]])
            if bits == 8:
                kinds = [type(layer).__name__ for layer in cache.layers]
                assert kinds[0] == "PackedLayer" and kinds[1] != "PackedLayer"
            found[bits] = whole, ask(model, cache, 1, position)
    for packed, plain in zip(found[8], found[16], strict=True):
        torch.testing.assert_close(packed, plain, rtol=0, atol=TOLERANCE)


def test_a_static_cache_that_a_failed_pass_wrote_to(model, monkeypatch):
    """Its layers cannot go back: it is refused until it is reset."""
    inputs = make_inputs(8)
    config = model.config.text_config
    with torch.no_grad(), intp_video.extend(model, 8, rope="none"):
        whole = model(**inputs).logits
        cache = StaticCache(config=config, max_cache_len=128)
        going_on = {**inputs, **with_cache(model, cache)}
        with pytest.raises(TypeError), monkeypatch.context() as patch:
            patch.setattr("intp_video.hook.attention.attend", None)
            model(**going_on)
        with pytest.raises(ModelError, match="StaticLayer cannot go back"):
            model(**going_on)
        cache.reset()
        ours = model(**{**inputs, **with_cache(model, cache)}).logits
    kept = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[kept], whole[kept], rtol=0, atol=1e-5)
