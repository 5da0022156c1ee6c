"""The time budget: categories sum to the step exactly, also where ranges overlap."""

from typing import Any

import numpy as np
import pytest

from perfscope.analyzer.budget.time_budget import steady_budget, time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.host.loop_pauses import waits_for_pausing_peers
from perfscope.analyzer.run.loops.steps import steady
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop, trace_of_two_ranks
from tests.analyzer.pipelines import counters


def mean_ms(trace: Trace, column: str) -> float:
    """Return the mean of one column over steady steps, in ms."""
    return float(steady(trace.fact(time_budget))[column].mean() / MS)


def assert_sums(trace: Trace) -> None:
    frame = trace.fact(time_budget)
    assert len(frame)
    assert (frame[list(CATEGORY_IDS)].sum(axis=1) == frame["dur"]).all()
    assert (frame[list(CATEGORY_IDS)] >= 0).all(axis=None)


def test_a_plain_step_is_divided_into_its_categories() -> None:
    loop = Loop()
    for _ in range(10):
        loop.next(4).work().call("checkpoint", 2, value=1000).call("gc", 1, object=2).idle(3)
    trace = loop.trace()
    assert_sums(trace)
    named = {name: mean_ms(trace, name) for name in CATEGORY_IDS if mean_ms(trace, name)}
    assert named == {"checkpoint": 2, "input-wait": 4, "host-bound": 1, "compute-or-host": 9}


def test_a_collection_inside_a_wait_is_counted_once() -> None:
    loop = Loop()
    for _ in range(5):
        begun = loop.at
        loop.next(4)
        after, loop.at = loop.at, begun + MS
        loop.call("gc", 2, object=2)
        loop.at = after
        loop.work()
    trace = loop.trace()
    assert_sums(trace)
    assert mean_ms(trace, "input-wait") == 4
    assert mean_ms(trace, "host-bound") == 0
    assert mean_ms(trace, "gc") == 0


def test_an_evaluation_inside_a_step_is_not_in_its_budget() -> None:
    loop = Loop()
    for run in (2, 3, 4, 5):
        loop.next().forward().backward()
        loop.next(5, iterator=run, loader=2).forward(4, training=0).end(iterator=run, loader=2)
        loop.next().forward().backward().optimizer()
    trace = loop.trace()
    assert_sums(trace)
    assert mean_ms(trace, "dur") == 13
    assert mean_ms(trace, "input-wait") == 2


def test_random_nanoseconds_sum_exactly() -> None:
    rng = np.random.default_rng(0)
    loop = Loop()
    for _ in range(200):
        a, b, c, d = rng.random(4) * 3
        loop.next(a).forward(b).backward(c).optimizer(d)
        loop.at -= int(rng.integers(0, 500_000))
        loop.call("checkpoint", rng.random()).idle(rng.random())
    loop.sampled("thread_states", 7, state="gil")
    assert_sums(loop.trace())


def test_samples_divide_the_time_outside_of_timed_calls() -> None:
    loop = Loop()
    for index in range(100):
        loop.next(10).forward(20).backward(20).optimizer(10)
        begun = loop.at
        loop.idle(40)
        state = "sleep" if index % 4 else "running"
        loop.tables.setdefault("thread_states", []).extend(
            [
                {"process": 0, "tid": 100, "ts": begun + 10 * MS, "state": state},
                {
                    "process": 0,
                    "tid": 100,
                    "ts": begun - 20 * MS,
                    "state": "running" if index % 2 else "gil",
                },
            ]
        )
    trace = loop.trace()
    assert_sums(trace)
    # Without the first and last step, 74 of 98 samples sleep outside of torch, and 49 of 98 wait
    # for the GIL.
    assert abs(mean_ms(trace, "other-idle") - 0.75 * 40) < 1
    assert abs(mean_ms(trace, "host-bound") - 0.5 * 50) < 1


def test_a_lock_inside_torch_is_not_idle() -> None:
    loop = Loop()
    for _ in range(50):
        loop.next(2).work()
    trace = loop.sampled("thread_states", 0.9, state="lock").trace()
    assert mean_ms(trace, "other-idle") == 0
    assert mean_ms(trace, "compute-or-host") == 6


def test_the_gap_without_a_loader_is_input_when_samples_show_user_code() -> None:
    user, torch = (
        "main (./train.py:3);decode (./data.py:9)",
        "main (train.py:9);_call_impl (torch/nn/modules/module.py:1)",
    )
    loop = Loop()
    for _ in range(30):
        begun = loop.at
        loop.idle(8)
        for at in (2, 4, 6):
            loop.tables.setdefault("stacks", []).append(
                {"process": 0, "tid": 100, "ts": begun + at * MS, "weight_ns": MS, "stack": user}
            )
        loop.work()
        loop.tables["stacks"].append(
            {"process": 0, "tid": 100, "ts": loop.at - MS, "weight_ns": MS, "stack": torch}
        )
    trace = loop.trace()
    assert_sums(trace)
    assert mean_ms(trace, "input-wait") == 8


def test_the_gap_without_a_loader_is_not_input_without_evidence() -> None:
    loop = Loop()
    for _ in range(30):
        loop.idle(8).work()
    trace = loop.trace()
    assert mean_ms(trace, "input-wait") == 0
    assert mean_ms(trace, "compute-or-host") == 14


def test_a_server_that_waits_is_idle_and_does_not_wait_for_input() -> None:
    loop = Loop()
    for _ in range(30):
        loop.idle(8).forward(2, training=0)
    trace = loop.sampled("thread_states", 1, state="poll").trace()
    assert_sums(trace)
    assert mean_ms(trace, "other-idle") == 8
    assert mean_ms(trace, "input-wait") == 0


def trace_of_calls_that_wait(
    listening: int, frame: str, more: tuple[dict[str, Any], ...] = ()
) -> Trace:
    """Return thirty module calls of 2 ms, after 8 ms each of waiting for the network in `frame`."""
    loop = Loop()
    for _ in range(30):
        loop.idle(8).forward(2, training=0)
        loop.tables.setdefault("stacks", []).append(
            {
                "process": 0,
                "tid": 100,
                "ts": loop.at - 6 * MS,
                "weight_ns": MS,
                "stack": f"main (a.py:3);{frame}",
            }
        )
    loop.sampled("thread_states", 1, state="network")
    loop.tables["counters"] = [{"tid": -1, "name": "listening_sockets", "value": float(listening)}]
    loop.tables["stacks"] += more
    return loop.trace()


def test_a_loop_that_serves_no_requests_waits_for_its_input() -> None:
    trace = trace_of_calls_that_wait(0, "fetched (a.py:9)")
    assert_sums(trace)
    assert mean_ms(trace, "input-wait") == 8
    assert mean_ms(trace, "other-idle") == 0


@pytest.mark.parametrize(
    ("listening", "frame", "more"),
    [
        (1, "fetched (a.py:9)", ()),
        (0, "get (queue.py:171)", ()),
        (
            0,
            "fetched (a.py:9)",
            ({"process": 0, "tid": 200, "ts": 5, "weight_ns": MS, "stack": "take (a.py:30)"},),
        ),
    ],
    ids=["listens", "waits for a queue", "has another thread"],
)
def test_a_wait_that_may_be_for_a_request_is_other_idle(
    listening: int, frame: str, more: tuple[dict[str, Any], ...]
) -> None:
    trace = trace_of_calls_that_wait(listening, frame, more)
    assert_sums(trace)
    assert mean_ms(trace, "other-idle") == 8
    assert mean_ms(trace, "input-wait") == 0


def test_copies_outside_of_waits_are_exposed() -> None:
    loop = Loop()
    for _ in range(5):
        loop.next(2).add(
            "copies", 3, direction="h2d", bytes=12_000_000, pinned=0, non_blocking=0
        ).work()
    assert mean_ms(loop.trace(), "exposed-copy") == 3


def test_samples_show_what_a_thread_waits_for_and_counters_of_the_kernel_how_long() -> None:
    loop = Loop()
    for _ in range(60):
        loop.next(1).work()
    states = [
        {
            "process": 0,
            "tid": 100,
            "ts": round(at * 1.3 * MS),
            "state": "gil" if at % 2 else "running",
        }
        for at in range(int(loop.at / MS / 1.3))
    ]
    sampled = loop.trace(thread_states=states)
    counted = counters(loop.at, {(0, 100, "cpu_ns"): 0.2e9, (0, 100, "run_delay_ns"): 0.05e9})
    weighed = loop.trace(thread_states=states, counters=counted)
    assert_sums(weighed)
    assert mean_ms(sampled, "gil") == pytest.approx(7 * 0.5, abs=0.15)
    # on a core or waiting for one 25 % of the time
    assert mean_ms(weighed, "gil") == pytest.approx(7 * 0.75, abs=0.15)


def test_pauses_of_a_rank_count_as_long_as_the_other_rank_waits_for_it() -> None:
    first, second = Loop(), Loop(process=1, tid=101)
    for _ in range(60):
        first.next(1).forward().backward(3).call("gc", 4, object=2).optimizer()
        second.next(1).forward().backward(6).call("gc", 1, object=2).optimizer()
    first.sampled("thread_states", 0.7, state="running")
    second.sampled("thread_states", 0.7, state="running")
    for row in second.tables["thread_states"]:
        row["state"] = "lock" if 6 * MS <= row["ts"] % (11 * MS) < 9 * MS else "running"
    trace = trace_of_two_ranks(first, second)
    # The pause of rank 1 is within that of rank 0.
    assert waits_for_pausing_peers(trace, 0, "gc").mean() == 0
    waited = float(steady_budget(trace).query("process == 1")["peer-wait"].mean())
    assert waited > 2 * MS
    assert waits_for_pausing_peers(trace, 1, "gc").mean() == pytest.approx(
        min(waited, 3 * MS), rel=0.01
    )
