"""What a mask function of transformers means to the plain backend, and the carrier made of it."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch
from intp_video import ModelError, compat
from intp_video.backend.attention import intp_attention
from intp_video.backend.carrier import bounds_of, is_carrier, make_carrier
from intp_video.backend.mask import intp_mask
from intp_video.backend.rules import CAUSAL, Rule, rule_of
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    packed_sequence_mask_function,
    sdpa_mask,
    sliding_window_causal_mask_function,
    sliding_window_overlay,
)

import intp_ext


def packed(ids):
    return packed_sequence_mask_function(torch.tensor([ids]))


LEFT = torch.tensor([2, 0])  # padding of two rows
SLIDING = sliding_window_causal_mask_function(4)
CHUNKED = chunked_causal_mask_function(4, LEFT)


@pytest.mark.parametrize(
    ("function", "rule"),
    [
        (causal_mask_function, CAUSAL),
        (SLIDING, Rule(intp_ext.Window(4))),
        (and_masks(causal_mask_function, packed([0, 0, 0])), CAUSAL),
        (and_masks(SLIDING, packed([0, 0, 0])), Rule(intp_ext.Window(4))),
        (and_masks(causal_mask_function, packed([0, 0, 1])), None),
        (or_masks(causal_mask_function, packed([0, 0, 0])), None),
        (and_masks(causal_mask_function, causal_mask_function), None),
        (and_masks(causal_mask_function, sliding_window_overlay(4)), None),
        (and_masks(sliding_window_overlay(4), causal_mask_function, packed([0, 0, 0])), None),
        (sliding_window_overlay(4), None),  # both ways
        (lambda batch, head, query, key: key <= query, None),
    ],
    ids=[
        *("causal", "sliding", "nothing-packed", "sliding-nothing-packed", "packed", "or"),
        *("twice", "in-another-order", "of-three", "an-overlay-alone", "of-your-own"),
    ],
)
def test_a_rule_is_recognised_exactly_or_not_at_all(function, rule):
    assert rule_of(function) == rule


def test_chunks_are_counted_from_the_first_token_that_is_not_padding():
    window = rule_of(CHUNKED).window
    assert (window.size, window.block) == (1, 4)
    assert torch.equal(window.block_start, LEFT.int())
    assert torch.equal(rule_of(CHUNKED).seen_from(3).block_start, LEFT.int() - 3)


def ask(function, padding=None, *, q_offset=0, queries=8, kv_offset=0, keys=8, **others):
    """The mask function as this transformers asks it."""
    if "cache_position" in inspect.signature(sdpa_mask).parameters:
        rows = {"cache_position": torch.arange(q_offset, q_offset + queries)}
    else:
        rows = {"q_length": queries, "q_offset": q_offset}
    arguments = {
        "batch_size": 2,
        "kv_length": keys,
        "kv_offset": kv_offset,
        "mask_function": function,
        "attention_mask": padding,
        "device": torch.device("cpu"),
        **rows,
        **others,
    }
    stock = sdpa_mask(**{**arguments, "allow_is_causal_skip": False})
    return intp_mask(**arguments), stock


PADDED = torch.tensor([[0, 0] + [1] * 12, [1] * 14]).bool()
ASKED = {
    "prefill": dict(queries=14, keys=14),
    "decode": dict(q_offset=13, queries=1, keys=14),
    "chunk": dict(q_offset=5, queries=9, keys=14),
    "keys from 6 on": dict(q_offset=10, queries=4, kv_offset=6, keys=8),
    "a static cache": dict(q_offset=5, queries=3, keys=24),
}


@pytest.mark.parametrize("padding", [None, PADDED], ids=["whole", "padded"])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize(
    "function", [causal_mask_function, SLIDING, CHUNKED], ids=["causal", "sliding", "chunked"]
)
def test_the_carrier_shows_what_transformers_own_mask_shows(function, asked, padding):
    if padding is not None:
        padding = (
            padding[:, : asked["q_offset"] + asked["queries"]] if "q_offset" in asked else padding
        )
    carrier, mask = ask(function, padding, **asked)
    assert is_carrier(carrier)
    for queries in (asked["queries"], 1):  # some models go on with their last row alone
        bounds = bounds_of(carrier, queries)
        assert torch.equal(seen_by(bounds, queries, asked["keys"]), mask[:, 0, -queries:])


def seen_by(bounds: intp_ext.Bounds, queries: int, keys: int) -> torch.Tensor:
    """bool ``[B, Sq, Skv]``: each key gets a value of its own, which shows in the result if the
    query sees it."""
    batch = bounds.rows.shape[0]
    zeros = torch.zeros(batch, 1, queries, keys)
    value = torch.eye(keys).expand(batch, 1, keys, keys)
    scores = intp_ext.attention(zeros, torch.zeros(batch, 1, keys, keys), value, bounds=bounds)
    return scores[:, 0] > 0


def test_a_moved_carrier_is_read_for_its_window():
    carrier = make_carrier(intp_ext.Window(3, 4, 1, 2), 0, 9, 9, 2, torch.device("cpu"))
    known, read = bounds_of(carrier, 5), bounds_of(carrier.clone(), 5)
    assert not hasattr(carrier.clone(), "intp_limits")
    assert (known.size, known.block, known.sink) == (read.size, read.block, read.sink) == (3, 4, 2)
    assert torch.equal(known.rows, read.rows)
    causal = make_carrier(None, 0, 9, 9, 2, torch.device("cpu"))
    assert bounds_of(causal.clone(), 5).size is None


def test_bounds_are_made_once_for_all_layers():
    carrier = make_carrier(None, 0, 9, 9, 2, torch.device("cpu"))
    bounds = bounds_of(carrier, 9)
    assert bounds_of(carrier, 9) is bounds
    assert bounds_of(carrier, 1).rows[0, 2] == 8


@pytest.mark.parametrize(
    "function", [or_masks(causal_mask_function, SLIDING), SLIDING], ids=["or", "holes"]
)
def test_what_is_not_known_is_transformers_own_mask(function):
    padding = PADDED.clone()
    padding[1, 5] = False
    mask, stock = ask(function, padding, queries=14, keys=14)
    assert mask.dtype == torch.bool and torch.equal(mask, stock)


def test_arithmetic_refuses_a_carrier():
    carrier = make_carrier(None, 0, 32, 32, 1, torch.device("cpu"))
    scores = torch.randn(1, 2, 3, 32)
    for use in (torch.add, torch.mul, torch.sub, torch.where, torch.masked_fill):
        with pytest.raises((RuntimeError, TypeError)):
            use(scores, carrier) if use is not torch.where else use(carrier, scores, 0.0)


def test_a_mask_function_that_is_not_told_enough():
    with pytest.raises(ModelError, match="was not told which rows and keys"):
        intp_mask(batch_size=1, kv_length=3, mask_function=causal_mask_function)


def test_an_argument_of_tomorrow_is_refused():
    with pytest.raises(ModelError, match="take block_sequence_ids"):
        ask(causal_mask_function, block_sequence_ids=torch.zeros(1))


def test_a_window_that_the_mask_does_not_have():
    states = [torch.randn(2, 2, 8, 8) for _ in range(3)]
    for function, said in ((causal_mask_function, "no window"), (SLIDING, "a window of 4")):
        carrier, _ = ask(function)
        with pytest.raises(ModelError, match=f"sliding_window=5 was given a mask of {said}"):
            intp_attention(torch.nn.Module(), *states, carrier, sliding_window=5)


def test_the_package_registers_and_importing_the_front_does_not():
    program = (
        "import sys, intp_video; assert 'transformers' not in sys.modules\n"
        "import intp_video.backend\n"
        "from transformers import AttentionInterface, AttentionMaskInterface\n"
        "assert AttentionInterface()['intp'] is intp_video.backend.intp_attention\n"
        "assert AttentionMaskInterface()['intp'] is intp_video.backend.intp_mask\n"
        "assert 'intp_video.hook' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_release_is_named_where_it_does_not_fit():
    with pytest.raises(ModelError, match=f"transformers {compat.transformers_version()}"):
        intp_mask()
