import time

import harness
import pytest
import runner
import torch
from harness import Contender, Summary, Timing

CPU = torch.device("cpu")


class FourMegabytes:
    def bytes_moved(self) -> int:
        return 4_000_000


class AndGigaflops(FourMegabytes):
    def flops(self) -> int:
        return 8_000_000_000


def test_flops_are_reported_where_a_case_counts_them():
    timing = Timing((2.0, 2.0, 2.0), 2.0)
    contender = Contender("ours", lambda: None)
    (row,) = runner.result_rows([contender], {"ours": timing}, AndGigaflops())
    assert row["gflop_per_s"] == pytest.approx(4.0) and "share_of_copy" not in row
    (row,) = runner.result_rows([contender], {"ours": timing}, FourMegabytes())
    assert "gflop_per_s" not in row


def test_what_computes_more_is_not_compared():
    ours, peer = (
        Contender(name, lambda x=x: torch.full((2,), x)) for name, x in (("a", 1.0), ("b", 2.0))
    )
    with pytest.raises(AssertionError, match="b computes something else"):
        runner.check_agreement([ours, peer], 0.1)
    runner.check_agreement([ours, Contender("b", peer.run, same=False)], 0.1)


def test_summary_of_known_numbers():
    assert Summary.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Summary(median=3.0, q1=2.0, q3=4.0, min=1.0)


def test_ratio_is_taken_round_by_round():
    # the machine became ten times slower in the third round: ratios do not see it
    peer, ours = Timing((2.0, 4.0, 30.0), 0.0), Timing((1.0, 2.0, 10.0), 0.0)
    assert peer.ratio_to(ours) == Summary(median=2.0, q1=2.0, q3=2.5, min=2.0)


def test_every_contender_runs_once_a_round_and_none_is_always_first():
    calls = []
    contenders = [Contender(name, lambda name=name: calls.append(name)) for name in "abc"]
    timings, _ = harness.interleave(contenders, CPU, seconds=0.0)
    assert {len(t.seconds) for t in timings.values()} == {harness.LEAST_REPEATS}
    warm_up = 2 * 3  # the first calls, the round that estimates
    rounds = [calls[i : i + 3] for i in range(warm_up, len(calls), 3)]
    assert len(rounds) == harness.LEAST_REPEATS
    assert all(sorted(round_) == ["a", "b", "c"] for round_ in rounds)
    assert {round_[0] for round_ in rounds} == {"a", "b", "c"}


def test_first_call_is_apart():
    naps = iter([0.2])
    contender = Contender("compiled", lambda: time.sleep(next(naps, 0.0)), compiled=True)
    timing = harness.interleave([contender], CPU, seconds=0.0)[0]["compiled"]
    assert timing.first_call >= 0.2
    assert timing.ratio_to(timing).median == 1.0


def test_an_optional_contender_may_refuse_and_says_why():
    def refuse():
        raise RuntimeError("no such kernel\nand more")

    contenders = [Contender("ours", lambda: None), Contender("theirs", refuse, optional=True)]
    timings, refused = harness.interleave(contenders, CPU, seconds=0.0)
    assert list(timings) == ["ours"] and refused == {"theirs": "RuntimeError: no such kernel"}
    with pytest.raises(RuntimeError, match="no such kernel"):
        harness.interleave([Contender("theirs", refuse)], CPU, seconds=0.0)


def test_rows_count_the_bytes_of_the_case():
    contenders = [
        Contender("ours", id),
        Contender("peer", id, "ours"),
        Contender("copy", id, "ours"),
    ]
    timings = {
        "ours": Timing((0.002,) * 3, 0.0),
        "peer": Timing((0.006,) * 3, 0.0),
        "copy": Timing((0.001,) * 3, 0.0),
    }
    ours, peer, copy = runner.result_rows(contenders, timings, FourMegabytes())
    assert ours["ms"]["median"] == pytest.approx(2.0)
    assert ours["gb_per_s"] == pytest.approx(2.0)
    assert ours["share_of_copy"] == pytest.approx(0.5)
    assert "times_as_long_as" not in ours
    assert peer["times_as_long_as"]["name"] == "ours"
    assert peer["times_as_long_as"]["median"] == pytest.approx(3.0)
    assert copy["share_of_copy"] == 1.0


def test_a_contender_that_computes_something_else_is_refused():
    contenders = [
        Contender("ours", lambda: (torch.ones(3), None)),
        Contender("copy", lambda: None),
        Contender("peer", lambda: (torch.ones(3) + 0.01, None)),
    ]
    runner.check_agreement(contenders, tolerance=0.02)
    with pytest.raises(AssertionError, match="peer computes something else"):
        runner.check_agreement(contenders, tolerance=0.005)


def test_flush_displaces_the_whole_cache():
    assert harness.CacheFlush(CPU).buffer.nbytes >= 2 * harness.cache_bytes(CPU)
