"""The phases of a recording: what each is derived from, and their precedence."""

from typing import Any

import pytest

from perfscope.analyzer.run.phases.phase_intervals import PHASES, phase_spans
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import Loop

SECOND = 1_000_000_000


def training(steps: int, loop: Loop | None = None) -> Loop:
    """Add training steps of 7 ms."""
    loop = loop or Loop()
    for _ in range(steps):
        loop.next(1).work()
    return loop


def validation(loop: Loop, batches: int = 5, iterator: int = 2) -> Loop:
    """Add an evaluation pass over a loader of its own, of 10 ms per batch."""
    for _ in range(batches):
        loop.next(8, iterator=iterator, loader=2, workers=0).forward(2, training=0)
    return loop.end(iterator=iterator, loader=2)


def seconds(trace: Trace, process: int = 0) -> dict[str, float]:
    """Return the seconds of each phase that occurs."""
    phases = phase_spans(trace, process)
    return {name: phases.duration_ns(name) / 1e9 for name in PHASES if phases.duration_ns(name)}


def sampled(loop: Loop, stack: str, begin_ms: float, end_ms: float) -> list[dict[str, Any]]:
    """Return samples of a stack every 10 ms."""
    return [
        {"process": 0, "tid": 100, "ts": at * 1_000_000, "weight_ns": 10_000_000, "stack": stack}
        for at in range(round(begin_ms) + 10, round(end_ms) + 1, 10)
    ]


def test_evaluation_passes_are_validation_and_the_rest_is_steps() -> None:
    loop = training(20)
    for iterator in (2, 3):
        training(20, validation(loop, iterator=iterator))
    phases = seconds(loop.trace())
    assert phases["validation"] == pytest.approx(0.102)
    assert phases["steps"] == pytest.approx(0.42, abs=0.001)
    assert sum(phases.values()) == pytest.approx(loop.at / 1e9)


def test_evaluation_without_a_loader_is_validation() -> None:
    loop = training(20)
    for _ in range(5):
        loop.forward(10, training=0)
    training(20, loop)
    assert seconds(loop.trace())["validation"] == pytest.approx(0.05)


def test_what_happens_inside_a_step_belongs_to_steps() -> None:
    loop = training(20).next(1).work().call("checkpoint", 50)
    training(20, loop)
    assert "checkpoint" not in seconds(loop.trace())


def test_a_checkpoint_on_another_thread_is_not_a_phase() -> None:
    loop = training(20)
    other = Loop(tid=7)
    other.at = loop.at + 100_000_000
    other.call("checkpoint", 50)
    loop.tables["ranges"] += other.tables["ranges"]
    assert "checkpoint" not in seconds(loop.trace())


def test_before_the_probe_nothing_was_recorded_of_a_running_process() -> None:
    loop = Loop().idle(500)
    training(20, loop)
    counters = [{"process": 0, "tid": -1, "ts": 0, "name": "cpu_ns", "value": 0.0}]
    assert seconds(loop.trace(counters=counters))["not-recorded"] == pytest.approx(0.5)


def test_samples_from_outside_show_what_ran_before_the_probe() -> None:
    loop = Loop().idle(600)
    training(20, loop)
    backward = "main (./train.py:9);step (./train.py:5);backward (torch/_tensor.py:1)"
    unknown = "main (./train.py:9);prepare (./train.py:2)"
    outside = [*sampled(loop, unknown, 0, 100), *sampled(loop, backward, 100, 600)]
    seen = loop.trace(
        stacks=sampled(loop, backward, 600, 740),
        outside_stacks=outside,
        counters=[{"process": 0, "tid": -1, "ts": 0, "name": "cpu_ns", "value": 0.0}],
    )
    assert seconds(seen) == {
        "not-recorded": pytest.approx(0.1, abs=0.02),
        "steps": pytest.approx(0.64, abs=0.02),
    }


def test_a_sample_at_lines_of_a_step_is_part_of_a_cut_step() -> None:
    loop = training(20)
    call = "_wrapped_call_impl (torch/nn/modules/module.py:1)"
    forward = f"main (./train.py:9);{call};forward (./model.py:4)"
    deeper = f"main (./train.py:9);{call};forward (./model.py:5);{call};forward (./model.py:7)"
    other = f"main (./train.py:8);{call};forward (./model.py:4)"
    samples = sampled(loop, forward, 0, 140)
    samples += sampled(loop, deeper, 140, 440) + sampled(loop, other, 440, 540)
    assert seconds(loop.idle(400).trace(stacks=samples)) == {
        "steps": pytest.approx(0.44),
        "other": pytest.approx(0.1),
    }


def test_a_trainers_functions_tell_a_step_from_what_else_it_does() -> None:
    loop = training(20)
    fit = "<module> (<string>:1);learn (sb/ppo.py:3)"
    collect, save = (
        f"{fit};collect (sb/algorithm.py:{{}});step (gym/core.py:2)",
        f"{fit};save (sb/io.py:4)",
    )
    samples = sampled(loop, collect.format(7), 0, 140)
    samples += sampled(loop, collect.format(9), 140, 440) + sampled(loop, save, 440, 540)
    assert seconds(loop.idle(400).trace(stacks=samples)) == {
        "steps": pytest.approx(0.44),
        "other": pytest.approx(0.1),
    }


def test_the_model_is_a_step_where_none_ended_in_the_recording() -> None:
    call = "_wrapped_call_impl (torch/nn/modules/module.py:1)"
    loop = Loop().idle(600)
    samples = sampled(loop, f"main (./train.py:9);{call};forward (./model.py:4)", 0, 500)
    samples += sampled(loop, "main (./train.py:8);prepare (./train.py:2)", 500, 600)
    counters = [{"process": 0, "tid": -1, "ts": 0, "name": "cpu_ns", "value": 0.0}]
    seen = loop.trace(stacks=samples, counters=counters)
    assert seconds(seen)["steps"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("caller", "phase"),
    [
        ("collect_rollouts (./ppo.py:3);step (gymnasium/core.py:2)", "steps"),
        ("evaluate_policy (./ppo.py:3);step (gymnasium/core.py:2)", "validation"),
        ("predict (./ppo.py:3)", "validation"),
    ],
)
def test_what_a_policy_collects_in_evaluation_mode_is_part_of_the_steps(
    caller: str, phase: str
) -> None:
    loop = training(20)
    begin_ms = loop.at / 1e6
    for _ in range(20):
        loop.forward(10, training=0)
    samples = sampled(loop, f"main (./train.py:9);{caller}", begin_ms, begin_ms + 200)
    training(20, loop)
    assert seconds(loop.trace(stacks=samples))[phase] >= 0.2
    assert ("validation" in seconds(loop.trace(stacks=samples))) is (phase == "validation")


def test_the_beginning_of_a_process_is_its_start_up() -> None:
    loop = Loop().idle(500)
    training(20, loop)
    counters = [{"process": 0, "tid": -1, "ts": 0, "name": "cpu_ns", "value": 0.0}]
    started = [{**build.MAIN, "start_ticks": 100}]
    trace = loop.trace(counters=counters, processes=started, manifest={"zero_monotonic_ns": SECOND})
    assert seconds(trace)["start-up"] == pytest.approx(0.5)


def test_leading_long_steps_are_warm_up() -> None:
    loop = Loop()
    for step in range(30):
        loop.next(1).forward(2).backward(60 if step in (1, 2) else 3).optimizer()
    assert seconds(loop.trace())["warm-up"] == pytest.approx(0.128)


def test_a_step_that_the_end_cuts_off_is_part_of_the_steps() -> None:
    loop = training(20).next(1).forward(2).backward(3)
    assert set(seconds(loop.trace())) == {"steps"}


def test_a_call_that_began_before_the_probe_came_is_part_of_a_step() -> None:
    loop = Loop().idle(500)
    stack = "main (a.py:1);__next__ (torch/utils/data/dataloader.py:725)"
    trace = training(20, loop).trace(stacks=sampled(loop, stack, 0, 490))
    assert seconds(trace)["steps"] == pytest.approx(0.5 + 0.14, abs=0.03)


def test_samples_of_a_package_with_such_a_name_are_not_validation() -> None:
    loop = training(20)
    begin_ms = loop.at / 1e6
    deep = "main (a.py:1);validate (pydantic/main.py:3);check (pydantic/v1/fields.py:4)"
    trace = loop.idle(500).trace(stacks=sampled(loop, deep, begin_ms, begin_ms + 500))
    assert "validation" not in seconds(trace)


def test_code_between_epochs_is_data_setup_and_after_validation_is_validation() -> None:
    loop = Loop().start(1)
    training(20, loop).end(1)
    training(20, validation(loop.idle(100).start(1, iterator=3)).idle(50))
    phases = seconds(loop.trace())
    assert phases["data-setup"] == pytest.approx(0.101, abs=0.002)
    assert phases["validation"] == pytest.approx(0.051 + 0.05, abs=0.002)
