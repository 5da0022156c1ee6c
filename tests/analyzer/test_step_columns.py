"""The columns of the chart of steps."""

from perfscope.analyzer.budget.step_columns import (
    MOST_COLUMNS,
    PROFILED,
    StepColumn,
    step_columns,
)
from perfscope.analyzer.run.loops.steps import steps
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests import build
from tests.ui.sample_traces import MS, input_bound


def columns(run: Trace) -> list[StepColumn]:
    return step_columns(run, 0)


def test_a_column_of_many_steps_is_the_mean_of_neighbors() -> None:
    found = columns(input_bound(steps=1000))
    assert len(found) <= MOST_COLUMNS + 2
    steady = [column for column in found if not column.left_out]
    assert {column.parts["input-wait"] for column in steady} == {7 * MS}
    counted = sum(column.last - column.first + 1 for column in found)
    assert counted == len(input_bound(steps=1000).fact(steps))


def test_the_slowest_step_is_in_a_column_and_marked_however_many_there_are() -> None:
    found = columns(input_bound(steps=3000, slow={1700: 100 * MS}))
    (slow,) = [column for column in found if column.is_outlier]
    assert slow.slowest_ns == 103 * MS and slow.first <= 1700 <= slow.last


def test_equal_steps_have_no_outlier() -> None:
    assert not any(column.is_outlier for column in columns(input_bound(steps=100)))


def test_steps_of_a_profiling_window_are_left_out_and_say_so() -> None:
    whole = input_bound()
    tables = {name: frame for name in TABLES if (frame := whole.table(name)) is not None}
    taken = {"process": 0, "ts": 300 * MS, "dur": 50 * MS, "begin": 300 * MS, "end": 350 * MS}
    windows = build.trace(windows=[{**taken, "steps": 5, "stall_ns": 0, "kept": True}])
    window = windows.table("windows")
    assert window is not None
    run = Trace({**tables, "windows": window}, {}, whole.manifests, span_ns=whole.span_ns)
    (of_32,) = [column for column in columns(run) if column.first <= 32 <= column.last]
    assert of_32.left_out == PROFILED and of_32.parts == {}
    (of_10,) = [column for column in columns(run) if column.first <= 10 <= column.last]
    assert of_10.left_out == "" and of_10.parts["input-wait"] == 7 * MS


def test_steps_have_the_numbers_of_the_programs_own_profiler() -> None:
    marks = [
        {"process": 0, "tid": 1, "ts": 100 * at, "dur": 100, "category": "step"}
        | {"name": f"ProfilerStep#{550 + at}"}
        for at in range(4)
    ]
    kernels = [
        {"process": 0, "device": 0, "stream": 7, "ts": 100 * at + 10, "dur": 50, "name": "k"}
        | {"kind": "compute", "launch": -1, "correlation": at}
        for at in range(4)
    ]
    run = build.trace(
        processes=[{"process": 0, "pid": 9, "role": "main", "rank": 0}],
        ranges=marks,
        kernels=kernels,
    )
    assert [column.first for column in columns(run)] == [550, 551, 552, 553]


def test_a_run_without_steps_has_no_columns() -> None:
    assert step_columns(build.trace(), 0) == []
