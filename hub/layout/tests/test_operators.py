"""The operators against eager PyTorch, as the Hub's users load them."""

from pathlib import Path

import kernels
import pytest
import tomllib
import torch
import torch.nn.functional as F

GENERAL = tomllib.loads((Path(__file__).parents[1] / "build.toml").read_text())["general"]
intp_ext = kernels.get_kernel(GENERAL["hub"]["repo-id"], version=GENERAL["version"])
DEVICE = "cuda" if torch.version.cuda is not None and torch.cuda.is_available() else "cpu"


def states(heads: int) -> torch.Tensor:
    return torch.randn(2, heads, 48, 64, device=DEVICE)


@pytest.mark.kernels_ci
def test_causal_attention():
    q, k, v = states(4), states(2), states(2)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(intp_ext.attention(q, k, v), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.kernels_ci
def test_attention_to_a_window_of_frames():
    q, k, v = states(4), states(2), states(2)
    window = intp_ext.Window(2, block=8, sink=3)
    row, key = torch.arange(48, device=DEVICE)[:, None], torch.arange(48, device=DEVICE)
    seen = (key <= row) & ((key // 8 > row // 8 - 2) | (key < 3))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    result = intp_ext.attention(q, k, v, window=window)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.kernels_ci
def test_rope():
    q, k = states(4), states(2)
    inv_freq = intp_ext.rope_frequencies("linear", 64, factor=4.0).inv_freq.to(DEVICE)
    positions = torch.arange(48, device=DEVICE)
    turned, _ = intp_ext.apply_rope(q, k, positions, intp_ext.Rope(inv_freq))
    angles = positions[:, None] * inv_freq
    a, b = q.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    expected = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.kernels_ci
def test_rearrangement():
    features = torch.randn(2, 24, 16, device=DEVICE)
    order = intp_ext.token_order(3, 4, 2, device=DEVICE)
    assert torch.equal(intp_ext.rearrange(features, order), features[:, order.long()])
