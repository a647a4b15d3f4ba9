import processor
import pytest
import runner
import torch
from harness import Contender, Timing, run_for_peak


def test_limits_are_rates_of_every_thread(monkeypatch):
    monkeypatch.setattr(processor, "REPEATS", 2)
    monkeypatch.setattr(processor, "ROUNDS", 1000)
    found = processor.limits(torch.ones(1 << 18), threads=3)
    assert set(found) == {
        "peak_fp32_gflop_per_s",
        "peak_bf16_gflop_per_s",
        "peak_read_gb_per_s",
    }
    assert min(found.values()) > 0


def test_the_read_reads_every_byte():
    data = torch.zeros(4096, dtype=torch.uint8)
    data[-1] = 1
    read = processor.library().read
    assert read(processor.ctypes.c_void_p(data.data_ptr()), processor.ctypes.c_int64(4096))
    assert not read(processor.ctypes.c_void_p(data.data_ptr()), processor.ctypes.c_int64(3584))


def test_peak_memory_of_a_call():
    del [torch.ones(1 << 14) for _ in range(2048)][:]  # 128 MiB freed, which the call could reuse
    peak = run_for_peak(lambda: torch.ones(16 << 20))  # 64 MiB, touched
    if peak is None:
        pytest.skip("this system does not tell the peak of memory")
    assert peak > 60


class Case:
    def bytes_moved(self) -> int:
        return 1


def test_a_goal_is_a_share_of_the_limit():
    contenders = [Contender("ours", id), Contender("peer", id, "ours")]
    timings = {"ours": Timing((0.002,) * 3, 0.0), "peer": Timing((0.006,) * 3, 0.0)}
    ours, peer = runner.result_rows(contenders, timings, Case(), limit=1.5, goals={"peer": 5.0})
    assert ours["share_of_limit"] == pytest.approx(0.75) and "goal" not in ours
    # five times the speed of a peer at a quarter of the limit is beyond it
    assert peer["goal"]["needs_share_of_limit"] == pytest.approx(1.25)
