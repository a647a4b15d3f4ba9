"""The KV cache benchmark on a size that takes no time: contenders agree, bytes are counted."""

import bench_kv_cache
import pytest
import torch
from harness import interleave
from runner import check_agreement

import intp_ext

CASE = bench_kv_cache.Case(192, heads=4, kv_heads=2, head_dim=32)


@pytest.fixture
def no_quanto(monkeypatch):
    """As where optimum-quanto is not installed: its first call compiles for a minute."""

    def missing():
        raise ImportError("pip install optimum-quanto")

    monkeypatch.setattr(bench_kv_cache, "quanto_layer", missing)


def test_contenders_agree():
    torch.manual_seed(0)
    with torch.inference_mode():
        contenders = bench_kv_cache.contenders(CASE, torch.device("cpu"), None)
        check_agreement(contenders, bench_kv_cache.BENCHMARK.tolerance["bf16"])
        exact, *others = (c.run() for c in contenders if not c.optional)
    assert [x.name for x in contenders][:7] == [
        "intp_ext 16", "intp_ext 8", "intp_ext 4", "intp_ext 3", "intp_ext 2.5", "intp_ext 2",
        "intp_ext 4, on read",
    ]  # fmt: skip
    for bits, found in zip((8, 4, 3, 2.5, 2), others, strict=False):
        assert (found - exact).abs().mean() < 0.6 / 2**bits


def test_a_peer_that_is_not_installed_is_left_out_and_says_why(no_quanto):
    torch.manual_seed(0)
    device = torch.device("cpu")
    contenders = bench_kv_cache.contenders(CASE, device, None)
    timings, refused = interleave(contenders, device, 0.01)
    assert "QuantizedCache 4" not in timings and {"read", "read 4 bits"} <= set(timings)
    assert refused == {"QuantizedCache 4": "ImportError: pip install optimum-quanto"}
    *_, row = bench_kv_cache.measure_append(CASE, device)
    assert row == {"name": "QuantizedCache", "refused": "pip install optimum-quanto"}


class Layer:
    """What is used of transformers' layer: one that keeps 16 bits."""

    def __init__(self):
        self.keys = self.values = None

    def update(self, k, v):
        if self.keys is None:
            self.whole, self.keys, self.values = (k, v), k[:, :, :0], v[:, :, :0]
            return k, v
        self.keys, self.values = torch.cat((self.keys, k), 2), torch.cat((self.values, v), 2)
        return torch.cat((self.whole[0], self.keys), 2), torch.cat((self.whole[1], self.values), 2)


def test_a_step_of_the_peer_is_attention_and_repeats(monkeypatch):
    monkeypatch.setattr(bench_kv_cache, "quanto_layer", Layer)
    q = torch.randn(1, 4, 1, 32)
    k, v = torch.randn(2, 1, 2, 65, 32)
    step = bench_kv_cache.quanto_step(q, k, v)
    expected = intp_ext.reference.attention(q, k, v, q_offset=64)
    for _ in range(3):
        torch.testing.assert_close(step(), expected, rtol=0, atol=1e-5)


def test_bytes_of_a_token(no_quanto):
    rows = bench_kv_cache.measure_append(CASE, torch.device("cpu"))
    found = {row["bits"]: row for row in rows if "bits" in row}
    assert found[16]["share_of_16_bits"] == 1
    channels = 2 * 2 * 32  # keys and values of two heads
    packed = 64 * channels * (4 / 8 + 2 / 64 + 2 / 32)
    exact = (128 + 4) * channels * 2 + 4  # newest and first tokens, and where the first begin
    assert found[4]["bytes_per_token"] == (packed + exact) / 192
    assert found[4]["share_of_16_bits"] == pytest.approx((packed + exact) / 192 / (2 * channels))
    assert all(row["ms"] > 0 for row in found.values())


def test_the_limit_is_that_of_the_processor():
    assert bench_kv_cache.arithmetic_limit(CASE, {"peak_bf16_gflop_per_s": 1e3}) > 0
    assert bench_kv_cache.arithmetic_limit(CASE, {"copy_gb_per_s": 4e3}) is None  # a GPU
