"""`periodic-slow-steps`: the period and the line, and slow steps that other findings explain."""

from collections.abc import Callable

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.slow_steps import periodic_slow_steps
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS
from tests.analyzer.outcomes import found, is_clear
from tests.analyzer.stacked_loop import StackedLoop

STEPS = 420
PLOT = "draw (./train.py:24)"


def loop_with(extra: Callable[[StackedLoop, int], object]) -> StackedLoop:
    """Return a loop of steps of 6 ms, after each of which `extra` may do something."""
    loop = StackedLoop()
    for number in range(STEPS):
        loop.train()
        extra(loop, number)
    return loop


def recording_with(extra: Callable[[StackedLoop, int], object]) -> Trace:
    """Return the recording of `loop_with`."""
    return loop_with(extra).recording()


def plot(loop: StackedLoop, number: int) -> None:
    if number % 40 == 39:
        loop.run(120, PLOT)


def test_a_plot_every_forty_steps_is_found_with_its_line_and_period() -> None:
    finding = found(periodic_slow_steps, recording_with(plot))
    assert finding.where is not None
    assert (finding.where.file, finding.where.line) == ("train.py", 24)
    assert finding.share == pytest.approx(120 / 360, abs=0.02)
    period = finding.evidence[0]
    assert (period.value, period.unit) == (40.0, "steps")


def test_the_prediction_is_the_step_at_a_longer_period() -> None:
    (action,) = found(periodic_slow_steps, recording_with(plot)).actions
    assert action.id == "do-less-often" and "400 steps" in action.text
    (prediction,) = action.predictions
    assert prediction.before == pytest.approx(9.0, rel=0.03)
    assert prediction.likely == pytest.approx(6.3, rel=0.03)
    assert prediction.high / prediction.low <= 1.5


def test_it_is_the_verdict_and_not_an_unknown_loader() -> None:
    answer = diagnose_trace(recording_with(plot))
    assert (answer.verdict.id, answer.verdict.kind) == ("periodic-slow-steps", "finding")
    loaders = [finding for finding in answer.findings if finding.id == "input-bound"]
    assert all(not finding.actions for finding in loaders)


def test_a_period_in_time_is_given_in_seconds() -> None:
    loop, due = StackedLoop(), 0
    for number in range(900):
        loop.train().run(1 + number * 7919 % 101 / 20, "load (./train.py:30)")
        if loop.at >= due:
            due = loop.at + 500 * MS
            loop.run(100, PLOT)
    finding = found(periodic_slow_steps, loop.recording())
    period = finding.evidence[0]
    assert period.unit == "s" and period.value == pytest.approx(0.505, abs=0.01)


def slow_at(numbers: set[int]) -> Callable[[StackedLoop, int], None]:
    """Return what makes these steps slow."""

    def extra(loop: StackedLoop, number: int) -> None:
        if number in numbers:
            loop.run(120, PLOT)

    return extra


def test_slow_steps_without_a_period_are_clear() -> None:
    irregular = {17, 31, 90, 104, 177, 300, 322, 399}
    assert is_clear(periodic_slow_steps, recording_with(slow_at(irregular)))


def test_steps_that_take_turns_are_clear() -> None:
    in_turn = set(range(0, STEPS, 2))
    assert is_clear(periodic_slow_steps, recording_with(slow_at(in_turn)))


def test_accumulation_of_gradients_is_clear() -> None:
    loop = StackedLoop()
    for number in range(STEPS):
        loop.run(1, "forward (./train.py:20)", category="forward", object=1, value=1)
        loop.run(1, "backward (torch/_tensor.py:1)", category="backward")
        if number % 8 == 7:
            loop.run(9, "step (torch/optim/adam.py:1)", category="optimizer", object=1)
        loop.call("step", 0)
    assert is_clear(periodic_slow_steps, loop.recording())


@pytest.mark.parametrize("category", ["checkpoint", "gc"])
def test_slow_steps_of_other_findings_are_clear(category: str) -> None:
    def extra(loop: StackedLoop, number: int) -> None:
        if number % 40 == 39:
            loop.run(120, "save (./train.py:24)", category=category, object=2, value=10)

    assert is_clear(periodic_slow_steps, recording_with(extra))


def test_waits_for_others_are_clear() -> None:
    def send(loop: StackedLoop, number: int) -> None:
        if number % 40 == 39:
            loop.run(120, PLOT, cpu=0.0)

    loop = loop_with(send)
    rows = loop.tables["ranges"]
    steps = [row["ts"] for row in rows if row["category"] == "forward"]
    states = [{"process": 0, "tid": 100, "ts": at + 3 * MS, "state": "running"} for at in steps]
    states += [
        {"process": 0, "tid": 100, "ts": at - MS * back, "state": "network"}
        for at in steps[40::40]
        for back in (20, 50, 80)
    ]
    assert is_clear(periodic_slow_steps, loop.recording(thread_states=states))


def test_rollouts_are_clear() -> None:
    def collect(loop: StackedLoop, number: int) -> None:
        if number % 40 == 39:
            for _ in range(16):
                loop.run(1, "forward (./train.py:20)", category="forward", object=1, value=1)
                loop.run(9, "advance (./train.py:26)")

    assert is_clear(periodic_slow_steps, recording_with(collect))


def test_the_first_steps_of_epochs_have_no_advice() -> None:
    def epoch(loop: StackedLoop, number: int) -> None:
        if number % 40 == 39:
            loop.run(120, PLOT).start(1)
        loop.next(0.2)

    finding = found(periodic_slow_steps, recording_with(epoch))
    assert finding.actions == []
