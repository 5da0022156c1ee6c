"""Where a trace's steps come from: the profiler's marks, ranges, the optimizer, or the period of
what ran.
"""

import numpy as np
import pytest

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.repeating_work import anchors
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.trace_steps import step_marks
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import US, Gpu


def source(trace: Trace) -> str | None:
    [(_, marks)] = trace.fact(step_marks)
    return None if marks is None else marks.source


def with_steps(category: str, names: list[str]) -> Trace:
    gpu = Gpu()
    for number, name in enumerate(names):
        gpu.span(100 * number, 98, category, name).started(100 * number + 10, 100 * number + 20, 50)
    return gpu.trace()


def test_the_profilers_marks_come_first_and_a_short_pause_belongs_to_the_step_before() -> None:
    trace = with_steps("step", [f"ProfilerStep#{n}" for n in range(4)])
    assert source(trace) == "the profiler's step marks"
    assert (trace.fact(steps)["dur"] / US).tolist() == [100, 100, 100, 98]


def overlapping(dur: float, tids: tuple[int, ...] = (100,)) -> Trace:
    gpu = Gpu().started(0, 10, 50)
    for number in range(10):
        for tid in tids:
            gpu.span(100 * number, dur, "step", f"ProfilerStep#{number}", tid)
    return gpu.trace()


def test_marks_that_overlap_a_little_are_steps() -> None:
    trace = overlapping(103)
    assert (trace.fact(steps)["dur"] / US).tolist() == [100] * 9 + [103]
    assert source(trace) == "the profiler's step marks"


def test_of_marks_on_two_threads_one_threads_count() -> None:
    trace = overlapping(98, (100, 200))
    assert len(trace.fact(steps)) == 10 and source(trace) == "the profiler's step marks"


def test_marks_left_out_because_they_overlap_are_said() -> None:
    assert diagnose_trace(overlapping(180)).dropped == [
        "9 marks of steps left out: they overlap others"
    ]


def test_ranges_with_the_name_of_a_step_are_steps() -> None:
    trace = with_steps("nvtx", [f"train step {n}" for n in range(4)])
    assert source(trace) == "the ranges called train step 0"
    assert len(trace.fact(steps)) == 4


def test_ranges_with_other_names_are_not() -> None:
    assert source(with_steps("nvtx", ["attention", "attention", "attention"])) is None


def test_between_two_steps_of_the_optimizer_lies_a_step() -> None:
    gpu = Gpu()
    for number in range(4):
        gpu.started(100 * number, 100 * number + 10, 50).span(
            100 * number + 70, 20, "annotation", "Optimizer.step#SGD.step"
        )
    trace = gpu.trace()
    assert source(trace) == "the optimizer's steps"
    assert (trace.fact(steps)[["ts", "dur"]] / US).to_numpy().tolist() == [
        [90, 100],
        [190, 100],
        [290, 100],
    ]
    assert set(trace.fact(steps)["phase"]) == {"train"}


def test_where_nothing_marks_them_the_period_of_the_kernels_tells() -> None:
    gpu = Gpu()
    for number in range(6):
        for at, name in enumerate(("embed", "layer", "layer", "head")):
            gpu.started(100 * number + 20 * at, 100 * number + 20 * at + 5, 10, name)
    trace = gpu.trace()
    assert source(trace) == "the period of the kernel sequence"
    assert (trace.fact(steps)["dur"] / US).tolist() == [100] * 5


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [
        ([0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2], [0, 4, 8, 12]),
        ([0, 1, 2, 0, 1, 0, 2, 2, 1, 0], []),
        ([0, 0, 0, 0, 0, 0], []),
    ],
)
def test_anchors(codes: list[int], wanted: list[int]) -> None:
    assert anchors(np.array(codes, np.int64)).tolist() == wanted


def test_each_steps_categories_sum_to_it_and_the_whole_to_the_span() -> None:
    trace = with_steps("step", [f"ProfilerStep#{n}" for n in range(8)])
    frame = trace.fact(time_budget)
    assert (frame[list(CATEGORY_IDS)].sum(axis=1) == frame["dur"]).all()
    answer = diagnose_trace(trace)
    assert sum(entry.seconds for entry in answer.time_budget) == pytest.approx(answer.span_s)
    assert answer.budget_over == "span"
    assert answer.steps.source == "the profiler's step marks"


def test_marks_that_overlap_by_rounding_are_all_steps() -> None:
    gpu = Gpu()
    for number in range(5):
        gpu.span(100 * number, 100.25, "step", f"ProfilerStep#{number}").started(
            100 * number + 10, 100 * number + 20, 50
        )
    gpu.span(110, 20, "step", "ProfilerStep#inner")
    found = gpu.trace().fact(steps)
    assert (found["ts"] / US).tolist() == [0, 100, 200, 300, 400]
    assert (found["dur"] / US).tolist() == [100, 100, 100, 100, 100.25]
