"""The stage and the pace of a recording while it runs."""

import pytest

from perfscope.analyzer.input.live_progress import (
    FIRST_STEP,
    LOOP_NOT_REACHED,
    OUTSIDE,
    RUNNING,
    STARTING,
    LiveProgress,
    live_progress,
)
from perfscope.traces.trace import Trace
from tests.build import MAIN, trace
from tests.ui.sample_traces import MS, STEP, WAIT, input_bound


def test_a_recording_without_data_is_starting() -> None:
    nothing = Trace({}, {}, trace().manifests, span_ns=(0, 1))
    assert live_progress(nothing) == LiveProgress(STARTING)


def test_what_is_recorded_from_outside_has_no_steps() -> None:
    progress = live_progress(trace(processes=[MAIN], manifest={"depth": "observe"}))
    assert (progress.stage, progress.step_ms) == (OUTSIDE, None)


def test_before_the_first_complete_step_the_stage_says_so() -> None:
    entered = trace(processes=[MAIN], manifest={"depth": "probe"})
    assert live_progress(entered).stage == LOOP_NOT_REACHED
    wait = {"process": 0, "tid": 100, "ts": 0, "dur": MS, "kind": "next", "end": 0}
    loader = [{**wait, "iterator": 1, "loader": 1, "workers": 2}]
    in_step = trace(processes=[MAIN], loader=loader, manifest={"depth": "probe"})
    assert live_progress(in_step).stage == FIRST_STEP


def test_the_pace_is_that_of_the_last_seconds() -> None:
    progress = live_progress(input_bound())
    assert progress.stage == RUNNING and progress.steps == 59
    assert progress.step_ms == pytest.approx(STEP / MS)
    assert progress.steps_per_s == pytest.approx(1e9 / STEP)
    assert progress.wait_share == pytest.approx(WAIT / STEP)
    slowed = dict.fromkeys(range(500, 1500), 3 * STEP)
    late = live_progress(input_bound(steps=1500, slow=slowed))
    assert late.step_ms is not None and late.step_ms > 2.5 * STEP / MS


def test_one_slow_step_is_enough_for_a_pace() -> None:
    progress = live_progress(input_bound(steps=2, slow={1: 8_000 * MS}))
    assert progress.steps == 1 and progress.steps_per_s == pytest.approx(0.125, rel=0.01)
