"""`growing-steps`: what grows, where, and what looks like growth but is something else."""

from collections.abc import Callable

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.slow_steps import growing_steps
from perfscope.traces.trace import Trace
from tests.analyzer.outcomes import found, is_clear, not_checked
from tests.analyzer.stacked_loop import MODULE, StackedLoop

STEPS = 450
HOOK = f"{MODULE};record (./train.py:22)"
METRIC = "compute (./train.py:31)"


def loop_with(extra: Callable[[StackedLoop, int], object]) -> Trace:
    """Return a recording of steps of 6 ms, to each of which `extra` adds."""
    loop = StackedLoop()
    for number in range(STEPS):
        loop.train()
        extra(loop, number)
    return loop.recording()


def growing_metric(loop: StackedLoop, number: int) -> None:
    loop.run(4 + 0.02 * number, METRIC)


def test_a_metric_over_all_past_steps_is_found_with_its_line_and_pace() -> None:
    finding = found(growing_steps, loop_with(growing_metric))
    assert finding.where is not None
    assert (finding.where.file, finding.where.line) == ("train.py", 31)
    assert finding.evidence[0].value == pytest.approx(20.0, rel=0.02)  # ms per 1,000 steps
    assert finding.lost_s == pytest.approx(0.02e-3 * STEPS**2 / 2, rel=0.03)
    assert finding.severity == "critical"
    assert [action.id for action in finding.actions] == ["bound-growing-work"]


def test_growth_is_the_verdict_and_no_other_advice_is_given_for_the_same_time() -> None:
    answer = diagnose_trace(loop_with(growing_metric))
    assert (answer.verdict.id, answer.verdict.kind) == ("growing-steps", "finding")
    others = [finding for finding in answer.findings if finding.id != "growing-steps"]
    assert all(not finding.actions for finding in others if finding.id == "input-bound")


def test_a_hook_is_removed_after_use() -> None:
    loop = StackedLoop()
    for number in range(STEPS):
        loop.run(4 + 0.02 * number, HOOK, category="forward", object=1, value=1)
        loop.train()
    finding = found(growing_steps, loop.recording())
    assert finding.where is not None and finding.where.line == 22
    assert [action.id for action in finding.actions] == ["remove-hook-after-use"]


def test_growth_in_backward_has_advice_only_where_memory_grows() -> None:
    loop = StackedLoop()
    for number in range(STEPS):
        loop.train().run(4 + 0.02 * number, "", category="backward")
    finding = found(growing_steps, loop.recording())
    assert finding.where is not None and finding.where.line == 50
    assert finding.actions == []


def test_a_machine_that_becomes_slower_is_not_growth() -> None:
    loop = StackedLoop()
    for number in range(STEPS):
        slower = 1 + 0.002 * number
        loop.train(slower=slower).run(4 * slower, METRIC)
    assert is_clear(growing_steps, loop.recording())


def test_longer_waits_for_a_core_are_not_growth() -> None:
    def delayed(loop: StackedLoop, number: int) -> None:
        computing = 4 / (4 + 0.02 * number)
        loop.run(4 + 0.02 * number, METRIC, cpu=computing, queued=1 - computing)

    assert is_clear(growing_steps, loop_with(delayed))


@pytest.mark.parametrize(
    "extra_ms",
    [
        lambda number: 4.0,
        lambda number: 4.0 if number < 200 else 12.0,
        lambda number: 4.0 + number * 7919 % 101 / 10,
        lambda number: 4.0 + 0.02 * min(number, 120),
    ],
    ids=["steady", "jump", "random-lengths", "fills-up"],
)
def test_steps_that_do_not_grow_all_the_time_are_clear(extra_ms: Callable[[int], float]) -> None:
    trace = loop_with(lambda loop, number: loop.run(extra_ms(number), METRIC))
    assert is_clear(growing_steps, trace)


def test_growth_is_not_checked_without_stack_samples() -> None:
    loop = StackedLoop()
    for _ in range(20):
        loop.train()
    counters = [{"process": 0, "tid": 100, "ts": 0, "name": "cpu_ns", "value": 0.0}]
    assert "stack samples" in not_checked(growing_steps, loop.trace(counters=counters)).reason
