"""Tables of communication and of memory, and the step times that what-if predicts."""

import pytest

from perfscope.analyzer.communication.communication_table import communication_table
from perfscope.analyzer.input.what_if import pipeline_of, what_if
from perfscope.analyzer.memory.allocator import NO_OPERATOR, allocators, memory_owners
from perfscope.traces.trace import Trace
from tests.build import MAIN, trace
from tests.ui.sample_traces import input_bound

ON = {"process": 0, "device": 0, "stream": 7}


def test_exposed_communication_of_a_group_is_without_what_overlaps_computation() -> None:
    kernels = [
        {**ON, "ts": 0, "dur": 100, "name": "nccl", "kind": "communication"},
        {**ON, "ts": 200, "dur": 50, "name": "nccl", "kind": "communication"},
        {**ON, "stream": 1, "ts": 0, "dur": 60, "name": "gemm", "kind": "compute"},
    ]
    reduce = {**ON, "kind": "all_reduce", "group": "dp", "group_size": 2, "in_bytes": 1000}
    collectives = [
        {**reduce, "ts": 0, "dur": 100, "kernel": 0},
        {**reduce, "ts": 200, "dur": 50, "kernel": 1},
    ]
    ranks = [{"process": 0, "rank": 0, "world_size": 2}]
    whole = trace(processes=[MAIN], ranks=ranks, kernels=kernels, collectives=collectives)
    (row,) = communication_table(whole).to_dict("records")
    assert row == {
        "rank": 0,
        "group": "dp",
        "kind": "all_reduce",
        "count": 2,
        "sum_ns": 150,
        "mean_ns": 75.0,
        "exposed_ns": 90,
        "wait_ns": -1,
        "bytes": 2000,
        "longest_ts": 0,
    }


def test_without_collectives_the_table_is_empty() -> None:
    assert len(communication_table(trace())) == 0


def test_memory_belongs_to_the_innermost_operator_that_runs() -> None:
    ops = [
        {"process": 0, "tid": 1, "ts": 0, "dur": 100, "name": "outer", "parent": -1},
        {"process": 0, "tid": 1, "ts": 10, "dur": 20, "name": "inner", "parent": 0},
    ]
    memory = [
        {
            "process": 0,
            "device": 0,
            "ts": ts,
            "bytes": size,
            "allocated_bytes": in_use,
            "reserved_bytes": 800,
        }
        for ts, size, in_use in ((15, 300, 300), (50, 200, 500), (60, -300, 200), (500, 70, 270))
    ]
    whole = trace(processes=[MAIN], ops=ops, memory=memory)
    rows = memory_owners(whole)[["name", "count", "bytes", "largest_ts"]].to_numpy().tolist()
    assert rows == [["inner", 1, 300, 15], ["outer", 1, 200, 50], [NO_OPERATOR, 1, 70, 500]]
    (device,) = allocators(whole)
    assert (device.peak_bytes, device.reserved_bytes, device.allocations) == (500, 800, 3)
    assert device.unused_share == pytest.approx(300 / 800)


def step_time(run: Trace, workers: int, cost: float) -> float:
    """Return the step time that `what_if` predicts, in nanoseconds."""
    after = what_if(run, 0, workers, cost).after
    assert after is not None
    return after.likely


def test_what_if_predicts_shorter_steps_for_more_workers_and_cheaper_batches() -> None:
    run = input_bound()
    line = pipeline_of(run, 0)
    assert line is not None and line.workers == 2
    assert step_time(run, 2, 1.0) == line.step
    times = [step_time(run, workers, 1.0) for workers in (2, 3, 4, 8)]
    assert times == sorted(times, reverse=True) and times[-1] < times[0]
    cheaper = [step_time(run, 2, cost) for cost in (0.9, 0.5, 0.1)]
    assert cheaper == sorted(cheaper, reverse=True)
    assert step_time(run, 0, 1.0) > times[0]
    assert what_if(trace(), 0, 2, 1.0).why_not is not None
