"""The summary of a run: run budget, steps, throughput, memory, workload, processes and devices."""

from typing import Any

import pytest

from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.summary.recorded_processes import number_of_loader_workers
from perfscope.analyzer.summary.run import Run, summarize
from perfscope.traces.device_facts import DeviceFacts
from tests import build
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import worker_process
from tests.analyzer.traced.gpu import Gpu

STEPS = 30
STEP_MS = 9.0
"""A step of `training`: 1 ms for the batch, 8 ms of backward."""


def training(steps: int = STEPS, *, slow_step: int = -1) -> Loop:
    """Return a training loop with steps of 9 ms; one may wait 20 ms longer for its batch."""
    loop = Loop()
    for step in range(steps):
        loop.next(21.0 if step == slow_step else 1.0).backward(8.0)
    return loop


def summary(loop: Loop, **more: Any) -> Run:
    """Return the summary of a loop."""
    return summarize(loop.trace(**more), LIMITS)


def seconds_by_phase(run: Run) -> dict[str, float]:
    """Return the seconds of each phase of the run budget."""
    return {phase.phase: phase.seconds for phase in run.run_budget}


def test_run_budget_divides_the_span_into_steps_checkpoints_and_the_rest() -> None:
    loop = training().idle(40.0).call("checkpoint", 50.0)
    run = summary(loop)
    phases = seconds_by_phase(run)
    assert run.span_s == pytest.approx(loop.at / 1e9)
    assert phases["checkpoint"] == pytest.approx(0.050)
    assert phases["steps"] == pytest.approx(STEPS * STEP_MS / 1e3, rel=0.1)
    assert sum(phases.values()) == pytest.approx(run.span_s, rel=1e-3)
    assert sum(phase.share for phase in run.run_budget) == pytest.approx(1.0)
    assert {phase.process for phase in run.run_budget} == {0}


def test_a_checkpoint_inside_a_step_belongs_to_steps() -> None:
    loop = training().call("checkpoint", 50.0)
    for _ in range(STEPS):
        loop.next().backward(8.0)
    assert "checkpoint" not in seconds_by_phase(summary(loop))


def test_without_a_step_the_whole_span_is_other() -> None:
    states = [
        {"process": 0, "tid": 100, "ts": at * 10 * MS, "state": "running"} for at in range(200)
    ]
    threads = [{"process": 0, "tid": 100, "name": "main", "main": True}]
    run = summarize(build.trace(thread_states=states, threads=threads), LIMITS)
    assert run.steps.count == 0 and run.steps.slowest == []
    assert set(seconds_by_phase(run)) <= {"other"}
    assert run.throughput.steps_per_s.value is None and run.throughput.steps_per_s.reason


def test_steps_per_second_follow_from_the_mean_step() -> None:
    run = summary(training())
    assert run.steps.mean_ms == pytest.approx(STEP_MS)
    assert run.throughput.steps_per_s.value == pytest.approx(1000.0 / STEP_MS)
    assert run.throughput.steps_per_s.scope == "job"


def test_samples_per_second_are_those_of_a_usual_batch() -> None:
    fetches = [
        {"process": 1, "tid": 200, "ts": at * 9 * MS, "dur": MS, "worker": 0, "samples": 64}
        for at in range(STEPS)
    ]
    worker = {"process": 1, "pid": 101, "parent": 0, "role": "loader-worker", "worker": 0}
    run = summary(training(), fetches=fetches, processes=[build.MAIN, worker])
    assert run.throughput.samples_per_s.value == pytest.approx(64 * 1000.0 / STEP_MS)
    assert run.throughput.samples_per_s.source == "loader"


def test_unknown_rates_have_a_reason() -> None:
    throughput = summary(training()).throughput
    for rate in (throughput.samples_per_s, throughput.tokens_per_s, throughput.mfu):
        assert rate.value is None and rate.reason


def test_the_slowest_step_comes_first_with_what_made_it_slow() -> None:
    run = summary(training(slow_step=12))
    slowest = run.steps.slowest
    assert len(slowest) == 10
    assert slowest[0].category == "input-wait"
    assert slowest[0].ms == pytest.approx(STEP_MS + 20.0)
    assert [step.ms for step in slowest] == sorted((step.ms for step in slowest), reverse=True)


def test_the_workload_is_the_phase_with_most_time() -> None:
    assert summary(training()).workload == "training"
    calls = Loop()
    for _ in range(STEPS):
        calls.forward(5.0, training=0).idle(1.0)
    assert summary(calls).workload == "inference"
    assert summarize(build.trace(), LIMITS).workload == "unknown"


def resident(loop: Loop, process: int, growth: float) -> list[dict[str, Any]]:
    """Return readings of 1 GB of resident memory that grow by `growth` bytes per second."""
    return [
        {
            "process": process,
            "tid": -1,
            "ts": ts,
            "name": "rss_bytes",
            "value": 1e9 + growth * ts / 1e9,
        }
        for ts in range(0, loop.at, loop.at // 20)
    ]


def test_host_memory_is_the_sum_of_the_processes_with_the_limit() -> None:
    loop = training()
    counters = [*resident(loop, 0, 0.0), *resident(loop, 1, 0.0)]
    worker = {"process": 1, "pid": 101, "parent": 0, "role": "loader-worker", "worker": 0}
    run = summary(
        loop,
        counters=counters,
        processes=[build.MAIN, worker],
        manifest={"memory_limit_bytes": 4_000_000_000},
    )
    memory = run.memory[0]
    assert memory.device is None
    assert memory.peak_bytes == pytest.approx(2e9)
    assert (memory.limit_bytes, memory.headroom_bytes) == (4_000_000_000, 2_000_000_000)


def test_a_worker_that_ended_no_longer_counts_and_noise_is_not_growth() -> None:
    """Two workers run one after the other, so that their memory is never used at once."""
    loop = training()
    both = [row for worker in (1, 2) for row in resident(loop, worker, 0.0)]
    middle = loop.at // 2
    apart = [row for row in both if (row["ts"] < middle) == (row["process"] == 1)]
    counters = [*resident(loop, 0, 0.0), *apart]
    workers = [
        {"process": code, "pid": 100 + code, "parent": 0, "role": "loader-worker"}
        for code in (1, 2)
    ]
    memory = summary(loop, counters=counters, processes=[build.MAIN, *workers]).memory[0]
    assert {row["process"] for row in apart} == {1, 2}
    assert memory.peak_bytes == pytest.approx(2e9)
    assert memory.growth_bytes_per_step is None


def test_samples_and_tokens_that_the_program_reports_are_the_rates() -> None:
    loop = training()
    marks = [
        {"ts": number * 10 * MS, "dur": 0, "category": "step", "value": 32, "payload": 4096.0}
        for number in range(20)
    ]
    ranges = [*loop.tables["ranges"], *({"process": 0, "tid": 100, **mark} for mark in marks)]
    run = summarize(build.trace(**{**loop.tables, "ranges": ranges}), LIMITS)
    assert run.throughput.samples_per_s.value == pytest.approx(3200.0)
    assert run.throughput.tokens_per_s.value == pytest.approx(409_600.0)
    assert run.throughput.tokens_per_s.source == "code"


def test_device_memory_is_the_peak_of_the_allocator_in_a_trace() -> None:
    gpu = Gpu()
    for step in range(10):
        gpu.started(step * 100, step * 100 + 10, 80)
    held = [40_000, 90_000, 60_000]
    memory = [
        {"device": 0, "ts": at, "bytes": 1, "allocated_bytes": size, "reserved_bytes": size}
        for at, size in enumerate(held)
    ]
    devices = [{"device": 0, "memory_bytes": 100_000, "name": "H100", "kind": "cuda"}]
    run = summarize(gpu.trace(memory=memory, devices=devices), LIMITS)
    assert [(use.device, use.peak_bytes, use.headroom_bytes) for use in run.memory] == [
        (0, 90_000, 10_000)
    ]
    assert [(device.device, device.name, device.processes) for device in run.devices] == [
        (0, "H100", [0])
    ]


def test_processes_have_ranks_and_workers_have_none() -> None:
    worker = {"process": 1, "pid": 101, "parent": 0, "role": "loader-worker", "rank": 0}
    run = summary(training(), processes=[build.MAIN, worker])
    assert [(process.process, process.role, process.rank) for process in run.processes] == [
        (0, "main", 0),
        (1, "loader-worker", None),
    ]


def test_watched_devices_list_the_processes_on_them() -> None:
    facts = [
        DeviceFacts(device=number, name="NVIDIA H100", uuid=f"GPU-{number}") for number in (0, 1)
    ]
    users = [
        {"host": "host", "device": 1, "process": process, "pid": pid, "ts": 0}
        for process, pid in ((0, 100), (-1, 7))
    ]
    run = summary(training(), manifest={"devices": facts}, device_processes=users)
    assert [(device.device, device.uuid, device.processes) for device in run.devices] == [
        (0, "GPU-0", []),
        (1, "GPU-1", [0]),
    ]


def test_workers_that_an_epoch_starts_again_count_once() -> None:
    def workers_of(*numbers: tuple[int, int]) -> int:
        rows = [
            {**worker_process(worker, parent), "process": 10 + place, "pid": 200 + place}
            for place, (parent, worker) in enumerate(numbers)
        ]
        return number_of_loader_workers(build.trace(processes=[build.MAIN, *rows]))

    assert workers_of((0, 0), (0, 1), (0, 0), (0, 1), (0, -1)) == 2
    assert workers_of((0, 0), (1, 0)) == 2
    assert workers_of((0, -1), (0, -1)) == 2
    assert workers_of() == 0
