"""`explicit-call`: calls of gc.collect, empty_cache and synchronize in the loop, and their line."""

from typing import Any

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.host import explicit_call, gc_pause
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop
from tests.analyzer.outcomes import found, is_clear
from tests.build import MAIN

OWN = "main (./train.py:39)"
GETITEM = "Rows.__getitem__ (./data.py:12)"
CALLBACK = f"{OWN};on_step_end (trainer/callbacks.py:7)"
DEVICE = {
    "device": 0,
    "uuid": "GPU-0",
    "name": "NVIDIA H100",
    "bus_id": "0000:00:01.0",
    "numa_node": 0,
}
CUDA = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}


def collecting(name: str, *, every: int = 1, ms: float = 9, freed: int = 0) -> Loop:
    """Return 60 steps of 7 ms, after every n-th of which a full collection runs."""
    loop = Loop()
    for step in range(60):
        loop.next().work()
        if step % every == 0:
            loop.add("ranges", ms, category="gc", name=name, object=2, value=freed)
    return loop


def test_a_collection_per_step_is_an_explicit_call_and_no_gc_pause() -> None:
    trace = collecting(OWN).trace()
    finding = found(explicit_call, trace)
    assert finding.share == pytest.approx(9 / 16, abs=0.001)
    assert finding.lost_s == pytest.approx(59 * 0.009, rel=0.05)
    assert finding.where is not None
    assert (finding.where.file, finding.where.line) == ("train.py", 39)
    assert [action.id for action in finding.actions] == ["remove-gc-collect"]
    assert finding.speedup is not None and finding.speedup.likely is None
    assert finding.speedup.high >= 16 / 7
    assert is_clear(gc_pause, trace)
    verdict = diagnose_trace(trace).verdict
    assert verdict.id == "explicit-call" and verdict.where == finding.where


def test_automatic_collections_stay_a_gc_pause() -> None:
    trace = collecting("gc").trace()
    assert is_clear(explicit_call, trace)
    assert found(gc_pause, trace)


def test_a_collection_every_few_steps_and_in_a_callback_is_found_at_the_programs_line() -> None:
    finding = found(explicit_call, collecting(CALLBACK, every=10).trace())
    assert finding.share == pytest.approx(0.9 / 7.9, abs=0.02)
    assert finding.where is not None and finding.where.line == 39
    assert "trainer/callbacks.py" in finding.actions[0].text


def test_collections_that_free_objects_may_be_made_rarely() -> None:
    finding = found(explicit_call, collecting(OWN, freed=500).trace())
    rarely = finding.actions[1]
    assert rarely.id == "collect-rarely" and "200 steps" in rarely.text


def test_with_few_steps_the_recorded_time_counts() -> None:
    loop = Loop()
    for _ in range(3):
        loop.next().work().idle(2000)
        loop.add("ranges", 900, category="gc", name=OWN, object=2, value=0)
    finding = found(explicit_call, loop.trace())
    assert finding.scope == "run"
    assert finding.share == pytest.approx(900 / 2907, abs=0.01)
    verdict = diagnose_trace(loop.trace()).verdict
    assert verdict.id == "explicit-call" and verdict.scope == "run"


def test_collections_in_workers_cost_their_part_of_the_input_wait() -> None:
    loop = Loop()
    fetches, collections = [], []
    for _ in range(40):
        worker = {"process": 1, "tid": 101, "ts": loop.at}
        fetches.append({**worker, "dur": 10 * MS, "worker": 0})
        collected = {**worker, "dur": 8 * MS, "category": "gc", "name": GETITEM, "object": 2}
        collections.append(collected)
        loop.next(14).work()
    loop.tables["ranges"] += collections
    worker_process = {**MAIN, "process": 1, "pid": 101, "ns_pid": 101, "role": "loader-worker"}
    trace = loop.trace(fetches=fetches, processes=[MAIN, worker_process])
    finding = found(explicit_call, trace)
    assert finding.share == pytest.approx(0.8 * 14 / 20, abs=0.01)
    assert finding.where is not None
    assert (finding.where.file, finding.where.line) == ("data.py", 12)
    assert [action.id for action in finding.actions] == ["remove-gc-collect"]


def test_short_and_few_explicit_collections_are_clear() -> None:
    assert is_clear(explicit_call, collecting(OWN, ms=0.1).trace())
    assert is_clear(explicit_call, collecting(OWN, every=40, ms=40).trace())


def on_device(frame: str, busy: float, *, caller: str = OWN) -> Trace:
    """Return a loop on a GPU whose main thread is in a call for half of the samples."""
    loop = Loop()
    for _ in range(300):
        loop.next().work()
    stacks: list[dict[str, Any]] = []
    for number, at in enumerate(range(0, loop.at, 20 * MS)):
        stack = f"{caller};{frame}" if number % 2 else "main (./train.py:30)"
        stacks.append({"process": 0, "tid": 100, "ts": at, "weight_ns": 20 * MS, "stack": stack})
    readings = [
        {"host": "host", "device": 0, "ts": at, "name": "kernel_time_share", "value": busy}
        for at in range(0, loop.at, 100 * MS)
    ]
    manifest = {"torch": CUDA, "devices": [DEVICE]}
    used = [{"host": "host", "device": 0, "process": 0, "pid": 100, "ts": 0}]
    return loop.trace(
        manifest=manifest, outside_stacks=stacks, device_counters=readings, device_processes=used
    )


@pytest.mark.parametrize(
    ("frame", "action"),
    [
        ("empty_cache (torch/cuda/memory.py:224)", "remove-empty-cache"),
        ("synchronize (torch/cuda/__init__.py:1085)", "remove-explicit-synchronize"),
        ("synchronize (torch/accelerator/__init__.py:217)", "remove-explicit-synchronize"),
    ],
)
def test_a_call_for_the_device_costs_at_most_the_time_in_which_the_device_is_idle(
    frame: str, action: str
) -> None:
    finding: Finding = found(explicit_call, on_device(frame, busy=0.7))
    assert finding.share == pytest.approx(0.3, abs=0.01)
    assert [given.id for given in finding.actions] == [action]
    assert finding.where is not None and finding.where.line == 39
    assert is_clear(explicit_call, on_device(frame, busy=0.99))


def test_calls_that_torch_makes_itself_are_not_the_programs() -> None:
    inside = f"{OWN};step (torch/profiler/profiler.py:5)"
    frame = "synchronize (torch/cuda/__init__.py:1085)"
    assert is_clear(explicit_call, on_device(frame, busy=0.7, caller=inside))
