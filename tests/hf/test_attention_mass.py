"""Which frames an answer looked at: the attention of the stock model in eager PyTorch."""

from __future__ import annotations

import pytest
import torch
from hf.processing_cases import QUESTION
from hf.test_prepare_families import make_clip
from hf.test_watched_video import named
from intp_video import ModelError
from intp_video.models import family_for
from intp_video.watching import WatchedVideo


def stock_mass(model, preparer, clip):
    """float64 [steps of time]: the attention of the prompt's last row, in eager PyTorch."""
    inputs = preparer(clip, QUESTION)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        layers = model(**inputs, output_attentions=True).attentions
    last = torch.stack([layer[0, :, -1].double() for layer in layers]).mean(dim=(0, 1))
    visual = last[inputs["input_ids"][0] == preparer.video_token_id]
    steps = len(clip) // family_for(model.config).frames_per_unit(model.config)
    return visual.view(steps, -1).sum(dim=1)  # as many tokens in each


@pytest.mark.parametrize("name", ["video_llava", "llava_next_video", "qwen2_5_vl", "internvl"])
def test_it_is_the_attention_of_the_stock_model(name):
    model, preparer = named(name)
    clip = make_clip(16)
    with WatchedVideo(model, preparer, clip, rope="none", window=2) as video:
        expected = video.ask(QUESTION, max_new_tokens=1)
        with video.watch_attention() as mass:
            assert mass.frames.tolist() == [0] * 16
            assert video.ask(QUESTION, max_new_tokens=1) == expected
        seen = mass.frames.clone()
        video.ask("Why?", max_new_tokens=3)  # after the block nothing is watched
        assert torch.equal(mass.frames, seen)
    with (
        WatchedVideo(model, preparer, clip, rope="none") as video,
        video.watch_attention() as mass,
    ):
        video.ask(QUESTION, max_new_tokens=1)
    stock = stock_mass(model, preparer, clip)
    together = family_for(model.config).frames_per_unit(model.config)
    assert torch.allclose(mass.frames[::together], stock, atol=1e-5)
    assert mass.frames.count_nonzero() == len(stock)
    assert mass.on_video == pytest.approx(float(stock.sum()), abs=1e-5) and 0 < mass.on_video < 1


@pytest.mark.parametrize("options", [{"kv_bits": 8}, {"kv_rotate": "on_read"}], ids=str)
def test_keys_that_are_not_there_cannot_be_looked_at(options):
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(8), **options) as video:
        assert not video.shows_attention
        with pytest.raises(ModelError, match="kv_bits=16"), video.watch_attention():
            pass


def test_a_model_that_shares_no_prefill_shows_no_attention():
    model, preparer = named("llava_next_video")
    with WatchedVideo(model, preparer, make_clip(8), rope="dynamic_ntk") as video:
        assert not video.shows_attention
