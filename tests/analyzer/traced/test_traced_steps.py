"""The steps of a profiler's trace: from its marks, ranges, the optimizer, or the period of its
kernels.
"""

import numpy as np
import pytest

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.loops.repeating_work import anchors
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.loops.trace_steps import step_marks
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import US, Gpu

PROFILER_MARKS = "the profiler's step marks"


def source(trace: Trace) -> str | None:
    [(_, marks)] = trace.fact(step_marks)
    return None if marks is None else marks.source


def trace_with_marks(category: str, names: list[str]) -> Trace:
    gpu = Gpu()
    for number, name in enumerate(names):
        gpu.span(100 * number, 98, category, name).started(100 * number + 10, 100 * number + 20, 50)
    return gpu.trace()


def test_steps_come_from_the_profilers_marks_and_include_the_pause_after_them() -> None:
    trace = trace_with_marks("step", [f"ProfilerStep#{n}" for n in range(4)])
    assert source(trace) == PROFILER_MARKS
    assert (trace.fact(steps)["dur"] / US).tolist() == [100, 100, 100, 98]


def trace_of_overlapping_marks(dur: float, tids: tuple[int, ...] = (100,)) -> Trace:
    gpu = Gpu().started(0, 10, 50)
    for number in range(10):
        for tid in tids:
            gpu.span(100 * number, dur, "step", f"ProfilerStep#{number}", tid)
    return gpu.trace()


def test_marks_with_a_small_overlap_are_steps() -> None:
    trace = trace_of_overlapping_marks(103)
    assert (trace.fact(steps)["dur"] / US).tolist() == [100] * 9 + [103]
    assert source(trace) == PROFILER_MARKS


def test_of_marks_on_two_threads_those_of_one_are_steps() -> None:
    trace = trace_of_overlapping_marks(98, (100, 200))
    assert len(trace.fact(steps)) == 10 and source(trace) == PROFILER_MARKS


def test_marks_with_a_large_overlap_are_ignored_and_reported() -> None:
    (dropped,) = diagnose_trace(trace_of_overlapping_marks(180)).dropped
    assert dropped.startswith("9 marks")


def test_ranges_called_step_are_steps() -> None:
    trace = trace_with_marks("nvtx", [f"train step {n}" for n in range(4)])
    assert "train step 0" in str(source(trace))
    assert len(trace.fact(steps)) == 4


def test_ranges_with_other_names_are_not_steps() -> None:
    assert source(trace_with_marks("nvtx", ["attention", "attention", "attention"])) is None


def test_steps_end_with_the_steps_of_the_optimizer() -> None:
    gpu = Gpu()
    for number in range(4):
        gpu.started(100 * number, 100 * number + 10, 50)
        gpu.span(100 * number + 70, 20, "annotation", "Optimizer.step#SGD.step")
    trace = gpu.trace()
    assert source(trace) == "the optimizer's steps"
    assert (trace.fact(steps)[["ts", "dur"]] / US).to_numpy().tolist() == [
        [90, 100],
        [190, 100],
        [290, 100],
    ]
    assert set(trace.fact(steps)["phase"]) == {"train"}


def repeating_kernels(*names: str) -> Gpu:
    gpu = Gpu()
    for number in range(6):
        for at, name in enumerate(names):
            gpu.started(100 * number + 20 * at, 100 * number + 20 * at + 5, 10, name)
    return gpu


def test_without_marks_the_period_of_kernels_with_an_optimizer_is_a_step() -> None:
    trace = repeating_kernels("embed", "layer", "layer", "multi_tensor_apply_kernel").trace()
    assert source(trace) == "the period of the kernel sequence"
    assert (trace.fact(steps)["dur"] / US).tolist() == [100] * 5


def test_without_marks_the_period_of_kernels_whose_result_is_read_is_a_step() -> None:
    gpu = repeating_kernels("embed", "layer", "layer", "head")
    for number in range(6):
        gpu.copied(100 * number + 85, 100 * number + 90, 2, "d2h")
    assert (gpu.trace().fact(steps)["dur"] / US).tolist() == [100] * 5


def test_a_period_of_kernels_alone_may_be_a_layer_and_is_not_a_step() -> None:
    gpu = repeating_kernels("norm", "attention", "linear", "activation")
    gpu.copied(585, 590, 2, "d2h")  # the result of the only pass
    assert source(gpu.trace()) is None


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [
        ([0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2, 0, 1, 1, 2], [0, 4, 8, 12]),
        ([0, 1, 2, 0, 1, 0, 2, 2, 1, 0], []),
        ([0, 0, 0, 0, 0, 0], []),
    ],
)
def test_an_anchor_is_the_code_that_begins_each_period(codes: list[int], wanted: list[int]) -> None:
    assert anchors(np.array(codes, np.int64)).tolist() == wanted


def test_the_budget_sums_to_each_step_and_to_the_span() -> None:
    trace = trace_with_marks("step", [f"ProfilerStep#{n}" for n in range(8)])
    frame = trace.fact(time_budget)
    assert (frame[list(CATEGORY_IDS)].sum(axis=1) == frame["dur"]).all()
    diagnosis = diagnose_trace(trace)
    phases = {row.phase: row.seconds for row in diagnosis.run_budget}
    assert sum(phases.values()) == pytest.approx(diagnosis.span_s)
    seconds = sum(entry.seconds for entry in diagnosis.time_budget)
    assert seconds == pytest.approx(diagnosis.span_s - phases["not-recorded"])
    assert diagnosis.budget_over == "span"
    assert diagnosis.steps.source == PROFILER_MARKS


def test_marks_that_overlap_only_by_rounding_are_steps() -> None:
    gpu = Gpu()
    for number in range(5):
        gpu.span(100 * number, 100.25, "step", f"ProfilerStep#{number}")
        gpu.started(100 * number + 10, 100 * number + 20, 50)
    gpu.span(110, 20, "step", "ProfilerStep#inner")
    found = gpu.trace().fact(steps)
    assert (found["ts"] / US).tolist() == [0, 100, 200, 300, 400]
    assert (found["dur"] / US).tolist() == [100, 100, 100, 100, 100.25]
