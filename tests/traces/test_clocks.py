"""The conversion of monotonic clock readings to job time."""

import numpy as np

from perfscope.traces.clocks import host_clock

SECOND = 1_000_000_000
REAL = 1_700_000_000 * SECOND


def job(clock: object, process: int, *readings: int) -> list[int]:
    return list(clock.job_ns(process, np.array(readings, np.int64)))  # type: ignore[attr-defined]


def test_processes_of_a_host_share_its_clock() -> None:
    clock = host_clock(
        100,
        [(0, REAL), (10 * SECOND, REAL + 10 * SECOND)],
        {1: [(5 * SECOND + 40, REAL + 5 * SECOND)]},
    )
    assert job(clock, 1, 100, 150) == [0, 50]
    assert clock.residual_ns == 40


def test_a_process_in_another_time_namespace_is_shifted_by_a_constant() -> None:
    agent = [(0, REAL), (10 * SECOND, REAL + 10 * SECOND)]
    clock = host_clock(
        0, agent, {1: [(7 * SECOND, REAL + 2 * SECOND), (13 * SECOND, REAL + 8 * SECOND)]}
    )
    assert job(clock, 1, 7 * SECOND) == [2 * SECOND]


def test_a_step_of_the_wall_clock_does_not_change_durations() -> None:
    agent = [(0, REAL), (10 * SECOND, REAL + 3610 * SECOND)]
    clock = host_clock(0, agent, {1: [(9 * SECOND, REAL + 3609 * SECOND)]})
    assert job(clock, 1, 0, 5 * SECOND, 10 * SECOND) == [0, 5 * SECOND, 10 * SECOND]
