"""Bus bandwidth by nccl-tests' factors, from the last arrival to the end; nothing where bytes or
ranks are unknown.
"""

import numpy as np
import pytest

from perfscope.analyzer.communication.collective_rates import bus_factor, collective_rates
from tests import build
from tests.analyzer.test_matched_collectives import RANKS, row

MB = 1_000_000


def test_an_all_reduce_of_two_ranks_is_timed_from_the_last_arrival() -> None:
    rows = [row(0, 0, 30 * MB, in_bytes=100 * MB), row(1, 20 * MB, 30 * MB, in_bytes=100 * MB)]
    rates = build.trace(ranks=RANKS, collectives=rows).fact(collective_rates)
    assert len(rates) == 1
    assert rates["count"][0] == 1 and rates["busy_ns"][0] == 10 * MB and not rates["at_least"][0]
    assert rates["waited_ns"][0] == 20 * MB and rates["exposed_ns"][0] == 40 * MB
    assert rates["bus_bytes_per_s"][0] == pytest.approx(10e9)  # 100 MB x 2 (2 - 1) / 2 in 10 ms


def test_the_rate_from_one_rank_alone_is_a_lower_bound() -> None:
    rates = build.trace(ranks=RANKS[:1], collectives=[row(0, 0, 30 * MB, in_bytes=30 * MB)]).fact(
        collective_rates
    )
    assert bool(rates["at_least"][0]) and rates["bus_bytes_per_s"][0] == pytest.approx(1e9)


def test_the_rate_of_unknown_bytes_or_ranks_is_unknown() -> None:
    unsized = [row(0, 0, 30 * MB, in_bytes=-1)]
    uncounted = [row(0, 0, 30 * MB, in_bytes=8, group_size=-1)]
    for rows in (unsized, uncounted):
        rates = build.trace(ranks=RANKS[:1], collectives=rows).fact(collective_rates)
        assert np.isnan(rates["bus_bytes_per_s"][0])


def test_factors_are_those_of_nccl_tests() -> None:
    kinds = np.array(
        ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "barrier"]
    )
    factors = bus_factor(kinds, np.full(6, 8, np.int64))
    assert factors[:5].tolist() == [1.75, 0.875, 0.875, 0.875, 1.0] and np.isnan(factors[5])


def test_without_collectives_there_is_no_rate() -> None:
    assert len(build.trace().fact(collective_rates)) == 0
