"""The small pieces: interval coverage, bootstrap, closed forms, numbers in words."""

import numpy as np
import pandas as pd
import pytest

from perfscope.analyzer.bootstrap import block_length, interval, resampled_means
from perfscope.analyzer.budget.observed_budget import SAVERS
from perfscope.analyzer.number_text import digits, duration, megabytes, ms, percent, plural
from perfscope.analyzer.run.loops.warm_up import warm_up
from perfscope.analyzer.run.resources.cumulative_counters import grown_in
from perfscope.analyzer.run.resources.memory_trend import slope_with_interval
from perfscope.analyzer.run.stacks.sample_shares import is_torch_frame
from perfscope.analyzer.step_time_models import After, Machine, pipelined_step_time, speedup
from perfscope.traces.intervals import covered, exclusive, merged
from tests import build


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_coverage_of_overlapping_intervals() -> None:
    spans = merged((ints(0, 5, 20, 40), ints(10, 15, 30, 40)))
    assert [list(part) for part in spans] == [[0, 20], [15, 30]]
    assert list(covered(spans, ints(0, 3, 12, 15, -5, 25), ints(100, 12, 22, 20, 0, 26))) == [
        25,
        9,
        5,
        0,
        0,
        1,
    ]


def test_an_instant_of_two_kinds_counts_for_the_first() -> None:
    shares = exclusive(
        [(ints(0), ints(10)), (ints(5), ints(20)), (ints(0), ints(50))], ints(0, 8), ints(12, 30)
    )
    assert [list(share) for share in shares] == [[10, 2], [2, 10], [0, 10]]


def test_coverage_is_equal_to_a_count_of_nanoseconds() -> None:
    rng = np.random.default_rng(1)
    begin = rng.integers(0, 500, 40)
    spans = merged((begin, begin + rng.integers(0, 30, 40)))
    line = np.zeros(600, bool)
    for low, high in zip(*spans, strict=True):
        line[low:high] = True
    low = rng.integers(0, 300, 50)
    high = low + rng.integers(0, 250, 50)
    assert list(covered(spans, low, high)) == [
        int(line[a:b].sum()) for a, b in zip(low, high, strict=True)
    ]


def test_the_bootstrap_interval_contains_the_mean_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        low, high = interval(resampled_means(rng.normal(10, 3, (60, 1)), 300)[:, 0])
        hits += low <= 10 <= high
    assert 165 <= hits <= 195  # 90 %, give or take


def test_correlated_steps_are_drawn_in_blocks_and_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    steps = np.zeros(400)
    for index in range(1, 400):
        steps[index] = 0.8 * steps[index - 1] + rng.normal()
    assert block_length(rng.permutation(steps)) == 1
    assert block_length(steps) >= 8
    wide = np.diff(interval(resampled_means(steps[:, None])[:, 0]))[0]
    narrow = np.diff(interval(resampled_means(rng.permutation(steps)[:, None])[:, 0]))[0]
    assert wide > 1.5 * narrow


def test_the_slowest_of_consumer_workers_and_cores_limits_the_rate() -> None:
    machine = Machine(usable_cores=4.0, reachable_cores=2.0, cpu=60.0)
    after = pipelined_step_time(10.0, 20.0, machine)
    assert (after.likely, after.fast) == (30.0, 20.0)  # 60 / 2 cores now, 60 / 4 at best
    assert after.slow > 30.0
    assert pipelined_step_time(10.0, 20.0, machine, saved_cpu=40.0).likely == 20.0
    assert pipelined_step_time(10.0, 5.0, Machine(None, None, None)).likely == 10.0


def test_the_speedup_interval_is_wider_for_unequal_steps_and_never_below_one() -> None:
    total = pd.Series([10.0, 10.0, 50.0] * 20)
    gain = speedup(23.3, After(20.0, 10.0, 10.0), removed=total - 10.0, total=total)
    assert gain.likely == 2.33
    assert gain.low is not None
    assert gain.low < 1.165 < 2.33 < gain.high
    worse = speedup(10.0, After(20.0, 12.0, 11.0))
    assert (worse.low, worse.likely, worse.high) == (1.0, 1.0, 1.0)


def test_the_slope_interval_contains_the_slope() -> None:
    at = np.arange(40.0)
    noise = np.random.default_rng(4).normal(0, 5, 40)
    slope, low, high = slope_with_interval(at, 3.0 * at + noise, np.zeros(len(at), np.int64))
    assert low < 3.0 < high
    assert low < slope < high
    _, low, high = slope_with_interval(at, noise, np.zeros(len(at), np.int64))
    assert low < 0.0 < high


def test_warm_up_is_leading_only_and_bounded() -> None:
    steps = ints(900, 500, *[100, 101, 99, 100] * 5, 900)
    nothing = np.zeros(len(steps), bool)
    assert list(np.flatnonzero(warm_up(steps, nothing))) == [0, 1]
    explained = nothing.copy()
    explained[0] = True
    assert not warm_up(steps, explained).any()
    assert not warm_up(steps[:4], nothing[:4]).any()


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ("main (train.py:1);step (torch/optim/sgd.py:3)", True),
        ("main (train.py:1);step (/usr/lib/python3/dist-packages/torch/optim/sgd.py:3)", True),
        ("step (torch/optim/sgd.py:3);decode (data.py:3)", False),
        ("main (/home/me/torch/train.py:1)", False),
    ],
)
def test_a_frame_is_known_as_torch_or_user_code(stack: str, expected: bool) -> None:
    assert is_torch_frame(stack) is expected


def test_a_save_is_recognized_by_short_and_by_full_paths() -> None:
    assert SAVERS.search("main (t.py:1);save (torch/serialization.py:900);write (x.py:1)")
    assert SAVERS.search("main (t.py:1);save (/venv/lib/site-packages/torch/serialization.py:900)")
    assert not SAVERS.search("main (t.py:1);save (t.py:4);load (torch/serialization.py:900)")


def test_numbers_are_rounded_for_texts() -> None:
    assert [ms(ns) for ns in (64.72e6, 1.916e9, 0.9871e6, 14_200, 0)] == [
        "64.7 ms",
        "1.92 s",
        "0.987 ms",
        "14.2 µs",
        "0 ms",
    ]
    assert [digits(value) for value in (1234.5, 47.16, 3.0, 0.03456)] == [
        "1,234",
        "47.2",
        "3",
        "0.035",
    ]
    assert [percent(share) for share in (0.614, 0.004, 0.0)] == ["61 %", "0.4 %", "0 %"]
    assert [plural(1, "worker"), plural(2, "process"), plural(0.5, "core")] == [
        "1 worker",
        "2 processes",
        "0.5 cores",
    ]
    assert [megabytes(5e6), megabytes(2.44e9)] == ["5 MB", "2.44 GB"]
    assert [duration(80), duration(7200), duration(40)] == ["1.33 minutes", "2 hours", "40 seconds"]


def test_growth_between_the_spans_is_ignored() -> None:
    # 1 ns per ns, but 5 while the profiler runs from 400 to 600
    readings = [(0, 0), (400, 400), (600, 1400), (1000, 1800)]
    rows = [
        {"process": 0, "tid": 7, "ts": ts, "name": "cpu_ns", "value": float(value)}
        for ts, value in readings
    ]
    trace = build.trace(counters=rows)
    assert grown_in(trace, "cpu_ns", 0, 7, (ints(0, 600), ints(400, 1000))) == 800
    # The known half is extrapolated to the whole span.
    assert grown_in(trace, "cpu_ns", 0, 7, (ints(800), ints(1200))) == 400
    assert grown_in(trace, "cpu_ns", 0, 7, (ints(900), ints(1200))) is None
    assert grown_in(trace, "cpu_ns", 0, -1, (ints(0), ints(400))) is None
