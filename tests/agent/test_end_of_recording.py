"""When a recording without a duration ends: by requests in a server, by steps elsewhere."""

import os
from array import array
from pathlib import Path

import msgspec
import pytest

from perfscope.agent.collector import Job
from perfscope.agent.recording.collector_runner import CollectorRunner
from perfscope.agent.recording.end_of_recording import enough_requests, reason_to_end
from perfscope.agent.recording.recording_plan import Plan, Progress
from perfscope.agent.recording.step_counter import StepCounter
from perfscope.traces.run_folder import events
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from tests.build import FACTS


def record(kind: int, **values: int) -> list[int]:
    """Return a record of the probe with some of its values."""
    named = [values.get(f"v{place}", -1) for place in range(8)]
    return [kind, 1, values.get("ts", 0), 5, *named]


def counted(*records: list[int]) -> StepCounter:
    counter = StepCounter()
    counter.count(array("q", [value for row in records for value in row]))
    return counter


def test_requests_are_counted_and_calls_of_generate_are_not() -> None:
    handled, generated = record(events.REQUEST, v6=1), record(events.REQUEST, v6=2)
    call = record(events.FORWARD, ts=7)
    counter = counted(handled, generated, call, record(events.REQUEST, v6=0), call)
    assert (counter.requests, counter.by_call, counter.steps) == (2, 2, 1)


def progress(elapsed_s: float, requests: int, steps: int = 5000) -> Progress:
    return Progress(elapsed_s, steps, 1.0, 1, 5.0, "probe", requests)


@pytest.mark.parametrize(
    ("elapsed_s", "requests", "is_enough"),
    [(12.0, 99, False), (12.0, 100, True), (31.0, 19, False), (31.0, 20, True)],
)
def test_a_server_is_recorded_until_it_has_answered_enough(
    elapsed_s: float, requests: int, is_enough: bool
) -> None:
    assert (enough_requests(progress(elapsed_s, requests)) is not None) is is_enough


def test_only_a_server_is_recorded_for_its_requests(tmp_path: Path) -> None:
    plan = Plan(os.getpid(), tmp_path, depth="probe")
    run = RunWriter.create(tmp_path / "run", msgspec.convert(FACTS, Manifest))
    collectors = CollectorRunner(plan, Job(run, plan.pid), [])
    reasons = [
        reason_to_end(plan, progress(*seen), collectors)
        for seen in ((12.0, 40), (12.0, 0), (121.0, 3), (9.0, 500))
    ]
    run.close()
    assert [reason is not None for reason in reasons] == [False, True, True, False]
