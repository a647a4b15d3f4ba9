"""The KV cache benchmark on a size that takes no time: contenders agree, bytes are counted."""

import bench_kv_cache
import pytest
import torch
from runner import check_agreement

CASE = bench_kv_cache.Case(192, heads=4, kv_heads=2, head_dim=32)


def test_contenders_agree():
    torch.manual_seed(0)
    with torch.inference_mode():
        contenders = bench_kv_cache.contenders(CASE, torch.device("cpu"), None)
        check_agreement(contenders, bench_kv_cache.BENCHMARK.tolerance["bf16"])
        exact, *others = (contender.run() for contender in contenders)
    assert [x.name for x in contenders][:5] == [
        "intp_ext 16", "intp_ext 8", "intp_ext 4", "intp_ext 2", "intp_ext 4, on read",
    ]  # fmt: skip
    for bits, found in zip((8, 4, 2), others, strict=False):
        assert (found - exact).abs().mean() < 0.6 / 2**bits


def test_bytes_of_a_token():
    found = {row["bits"]: row for row in bench_kv_cache.measure_append(CASE)}
    assert found[16]["share_of_16_bits"] == 1
    assert found[4]["bytes_per_token"] == 2 * 2 * 32 * (4 / 8 + 2 / 64 + 2 / 32)
    assert found[4]["share_of_16_bits"] == pytest.approx(0.296875)
    assert all(row["ms"] > 0 for row in found.values())
