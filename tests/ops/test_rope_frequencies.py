"""Frequencies and angles are transformers' own, and every argument is checked."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from intp_ext import Rope, reference, rope_frequencies

HEAD_DIM, TRAINED = 64, 4096


def transformers_rope(kind: str, base: float = 10000.0, **parameters: object):
    """(inv_freq, attention_scaling) of transformers 4 or 5."""
    length = parameters.pop("seq_len", None)
    rope = {"rope_type": kind, "rope_theta": base, **parameters}
    options = {
        "hidden_size": 4 * HEAD_DIM,
        "num_attention_heads": 4,
        "max_position_embeddings": TRAINED,
    }
    if "rope_parameters" in LlamaConfig().to_dict():
        config = LlamaConfig(**options, rope_parameters=rope)
    else:  # transformers 4
        del rope["rope_theta"]
        config = LlamaConfig(**options, rope_theta=base, rope_scaling=rope)
    return ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)


def assert_equal(ours: Rope, theirs) -> None:
    inv_freq, scaling = theirs
    torch.testing.assert_close(ours.inv_freq, inv_freq, rtol=1e-6, atol=0)
    assert ours.attention_scaling == pytest.approx(scaling, rel=1e-12)


@pytest.mark.parametrize("base", [10000.0, 500000.0])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.08, 32.0])
def test_linear(base, factor):
    ours = rope_frequencies("linear", HEAD_DIM, base, factor)
    assert_equal(ours, transformers_rope("linear", base, factor=factor))


@pytest.mark.parametrize("length", [1, TRAINED, TRAINED + 1, 5000, 40000])
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.08])
def test_dynamic_ntk(factor, length):
    ours = rope_frequencies(
        "dynamic_ntk", HEAD_DIM, factor=factor, original_max_position=TRAINED, length=length
    )
    assert_equal(ours, transformers_rope("dynamic", factor=factor, seq_len=length))


@pytest.mark.parametrize(
    "options", [{}, {"beta_fast": 16.0, "beta_slow": 2.0}, {"truncate": False}]
)
@pytest.mark.parametrize("factor", [1.0, 2.0, 4.08, 32.0])
def test_yarn(factor, options):
    ours = rope_frequencies(
        "yarn", HEAD_DIM, factor=factor, original_max_position=TRAINED, **options
    )
    theirs = transformers_rope(
        "yarn", factor=factor, original_max_position_embeddings=TRAINED, **options
    )
    assert_equal(ours, theirs)


def test_yarn_with_a_given_attention_factor():
    rope = rope_frequencies(
        "yarn", HEAD_DIM, factor=4.0, original_max_position=TRAINED, attention_factor=0.7
    )
    assert rope.attention_scaling == 0.7


def test_ntk_from_its_formula():
    """base * s^(d/(d-2)): the fastest frequency stays, the slowest is divided by exactly s."""
    plain, ntk = rope_frequencies("none", 128), rope_frequencies("ntk", 128, factor=4.0)
    assert ntk.inv_freq[0] == plain.inv_freq[0] == 1
    assert ntk.inv_freq[-1] == pytest.approx(float(plain.inv_freq[-1]) / 4, rel=1e-5)
    i, base = 17, 10000 * 4 ** (128 / 126)
    assert ntk.inv_freq[i] == pytest.approx(base ** (-2 * i / 128), rel=1e-5)


def test_partial_rotary():
    """d in every formula is the number of rotary channels, not head_dim."""
    whole = rope_frequencies("ntk", 32, factor=3.0)
    partial = rope_frequencies("ntk", 128, factor=3.0, rotary_dim=32)
    assert torch.equal(partial.inv_freq, whole.inv_freq)
    assert partial.rotary_dim == 32


def test_angles_are_those_of_a_llama():
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(hidden_size=4 * HEAD_DIM, num_attention_heads=4)
    positions = torch.tensor([[0, 1, 7, 4095, 100_000]])
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1, 5, 1), positions)
    angles = reference.rope_angles(positions, rope_frequencies("none", HEAD_DIM))
    torch.testing.assert_close(angles.cos().repeat(1, 1, 2), cos, rtol=0, atol=1e-6)
    torch.testing.assert_close(angles.sin().repeat(1, 1, 2), sin, rtol=0, atol=1e-6)


SECTIONS = (8, 12, 12)
POSITIONS = torch.stack(
    [torch.arange(10).expand(2, 10) * step + torch.tensor([[0], [3]]) for step in (1, 5, 11)]
)  # [3, B, S]: the axes differ, and so do the rows


def assert_rotation_is(theirs, rope):
    """theirs(q, k) against reference.apply_rope on M-RoPE positions."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 4, 10, HEAD_DIM), torch.randn(2, 2, 10, HEAD_DIM)
    ours = reference.apply_rope(q, k, POSITIONS, rope)
    for one, other in zip(ours, theirs(q, k), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def mrope_config(config_class):
    """A text config with SECTIONS, in transformers 4 or 5."""
    mrope = {"rope_type": "default", "mrope_section": list(SECTIONS)}
    options = {"hidden_size": 4 * HEAD_DIM, "num_attention_heads": 4, "head_dim": HEAD_DIM}
    if "rope_parameters" in config_class().to_dict():
        return config_class(**options, rope_parameters={**mrope, "rope_theta": 10000.0})
    return config_class(**options, rope_theta=10000.0, rope_scaling=mrope)


def test_mrope_sections_one_after_another_as_in_qwen2_vl():
    from transformers.models.qwen2_vl import modeling_qwen2_vl as qwen2_vl
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig

    cos, sin = qwen2_vl.Qwen2VLRotaryEmbedding(mrope_config(Qwen2VLTextConfig))(
        torch.zeros(1), POSITIONS
    )

    def theirs(q, k):
        if hasattr(qwen2_vl, "apply_multimodal_rotary_pos_emb"):  # transformers 4
            return qwen2_vl.apply_multimodal_rotary_pos_emb(q, k, cos, sin, list(SECTIONS))
        return qwen2_vl.apply_rotary_pos_emb(q, k, cos, sin)

    assert_rotation_is(theirs, rope_frequencies("none", HEAD_DIM, sections=SECTIONS))


def test_mrope_sections_interleaved_as_in_qwen3_vl():
    from transformers.models.qwen3_vl import modeling_qwen3_vl as qwen3_vl
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig

    cos, sin = qwen3_vl.Qwen3VLTextRotaryEmbedding(mrope_config(Qwen3VLTextConfig))(
        torch.zeros(1), POSITIONS
    )
    rope = rope_frequencies("none", HEAD_DIM, sections=SECTIONS, interleaved_sections=True)
    assert_rotation_is(lambda q, k: qwen3_vl.apply_rotary_pos_emb(q, k, cos, sin), rope)


@pytest.mark.parametrize("interleaved", [True, False])
def test_mrope_with_one_position_for_all_axes_is_plain_rope(interleaved):
    plain = rope_frequencies("none", HEAD_DIM)
    mrope = rope_frequencies("none", HEAD_DIM, sections=SECTIONS, interleaved_sections=interleaved)
    one = torch.arange(10)
    expected = reference.rope_angles(one, plain)
    assert torch.equal(reference.rope_angles(one, mrope), expected)
    assert torch.equal(reference.rope_angles(one.expand(3, 1, 10), mrope), expected)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"kind": "rotary"}, "kind: expected one of none, linear"),
        ({"factor": 0.5}, "factor"),
        ({"factor": math.nan}, "factor"),
        ({"factor": math.inf}, "factor"),
        ({"base": 0.0}, "base"),
        ({"base": math.inf}, "base"),
        ({"head_dim": 0}, "rotary_dim"),
        ({"head_dim": 63}, "rotary_dim"),
        ({"rotary_dim": 66}, "rotary_dim"),
        ({"kind": "ntk", "head_dim": 2}, "more than 2 channels"),
        ({"kind": "yarn"}, "original_max_position"),
        ({"kind": "dynamic_ntk", "original_max_position": 10}, "length"),
        ({"kind": "dynamic_ntk", "length": 10}, "original_max_position"),
        ({"sections": (1, 2, 3)}, "sections"),
        ({"sections": (16, 16)}, "sections"),
        ({"sections": (-1, 16, 17)}, "sections"),
    ],
)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        rope_frequencies(**{"kind": "linear", "head_dim": HEAD_DIM, **arguments})


def test_a_rope_checks_what_it_is_given():
    with pytest.raises(TypeError, match=r"inv_freq: expected a float32 tensor, got torch\.float64"):
        Rope(torch.ones(4, dtype=torch.float64))
    with pytest.raises(TypeError, match="inv_freq"):
        Rope([1.0, 0.5])
    with pytest.raises(ValueError, match=r"inv_freq: expected shape \[D_rot/2\], got \[2, 2\]"):
        Rope(torch.ones(2, 2))
    with pytest.raises(ValueError, match="attention_scaling"):
        Rope(torch.ones(4), attention_scaling=math.nan)
