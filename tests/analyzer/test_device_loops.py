"""Recordings of loops on a device: what the host waits for, and what the device did meanwhile."""

from typing import Any

import pytest

from perfscope.analyzer.budget.device_evidence import DeviceEvidence
from perfscope.analyzer.budget.idle_time import idle_share
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.run.accelerators.device_use import CountedIdle
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.loop import MS, Loop
from tests.analyzer.stacked_loop import MAIN, MODULE, StackedLoop

CUDA = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
STEPS = 40


def budget_shares(diagnosis: Diagnosis) -> dict[str, float]:
    return {entry.category: entry.share for entry in diagnosis.time_budget}


def record_on_device(loop: Loop, **more: list[dict[str, Any]]) -> Trace:
    """Return the recording of a loop whose program uses a device."""
    return loop.trace(manifest={"torch": CUDA}, **more)


def add_copy(loop: Loop, ms: float, megabytes: float, **columns: Any) -> Loop:
    """Add a blocking copy to the device."""
    size = round(megabytes * 1e6)
    defaults = {"direction": "h2d", "bytes": size, "pinned": 0, "non_blocking": 0}
    return loop.add("copies", ms, **{**defaults, **columns})


def finding_of(diagnosis: Diagnosis, id: str) -> Finding:
    return next(finding for finding in diagnosis.findings if finding.id == id)


def add_device_time(loop: Loop, kind: str, elapsed_ms: float, table: str) -> Loop:
    """Add what the device measured around the last call of a table."""
    call = loop.tables[table][-1]
    row = {name: call[name] for name in ("process", "tid", "ts", "dur")}
    rows = loop.tables.setdefault("device_times", [])
    rows.append({**row, "call": kind, "elapsed_ns": round(elapsed_ms * MS)})
    return loop


def test_a_blocking_copy_waits_for_the_device() -> None:
    loop = Loop()
    for _ in range(STEPS):
        add_copy(loop.next(0.1, workers=2), 45, 8).work()
    diagnosis = diagnose_trace(record_on_device(loop))
    shares = budget_shares(diagnosis)
    # 8 MB take 2 ms at the 4 GB/s of pageable memory
    assert shares["exposed-copy"] == pytest.approx(2.02 / 51.1, abs=0.001)
    assert shares["device-compute"] == pytest.approx(42.98 / 51.1, abs=0.001)
    assert diagnosis.bound_by.id == "compute" and diagnosis.bound_by.share > 0.8
    assert diagnosis.findings == []
    assert diagnosis.verdict.id == "unknown", "an eighth of the step was not recorded"


def test_the_device_says_how_long_a_copy_takes() -> None:
    loop = Loop()
    for step in range(STEPS):
        add_copy(loop.next(0.1), 45, 8).work()
        if step % 4 == 0:
            add_device_time(loop, "copy", 30, "copies")
    diagnosis = diagnose_trace(record_on_device(loop))
    assert budget_shares(diagnosis)["exposed-copy"] == pytest.approx(30 / 51.1, abs=0.001)
    assert diagnosis.verdict.id == "pageable-copy"
    assert diagnosis.findings[0].share == pytest.approx(30 / 51.1, abs=0.001)


def test_waits_in_synchronizing_calls_count_as_work_of_the_device() -> None:
    loop = Loop()
    for _ in range(STEPS):
        loop.next(0.1).work().call("sync", 30)
    diagnosis = diagnose_trace(record_on_device(loop))
    assert budget_shares(diagnosis)["device-compute"] == pytest.approx(30 / 36.1, abs=0.001)
    assert diagnosis.bound_by.id == "compute"


def loop_that_waits(wait: float, idle: float | None) -> Loop:
    """Return a loop that waits for its one worker, and whose device is idle for a part of it."""
    loop = Loop()
    for _ in range(STEPS):
        loop.next(wait, workers=1, queue_depth=0)
        if idle is not None:
            add_device_time(loop, "loader", idle, "loader")
        end = loop.at
        fetch = {"process": 1, "tid": 200, "worker": 0, "cpu_ns": MS, "dataset_ns": MS}
        loop.tables.setdefault("fetches", []).append(
            {**fetch, "ts": max(end - 60 * MS, 0), "dur": 60 * MS, "run_delay_ns": 0}
        )
        loop.work()
    return loop


def worker() -> dict[str, Any]:
    return {
        **build.MAIN,
        "process": 1,
        "pid": 200,
        "ns_pid": 200,
        "role": "loader-worker",
        "parent": 0,
    }


def test_only_waits_that_leave_the_device_idle_can_be_saved() -> None:
    # A worker makes a batch in 61.5 ms; the device works for 50 ms of each step.
    trace = record_on_device(loop_that_waits(55.5, 11.5), processes=[build.MAIN, worker()])
    diagnosis = diagnose_trace(trace)
    finding = finding_of(diagnosis, "input-bound")
    assert diagnosis.verdict.id == "input-bound"
    assert finding.share == pytest.approx(11.5 / 61.5, abs=0.01)
    assert finding.speedup is not None and finding.speedup.likely is not None
    assert finding.speedup.likely == pytest.approx(61.5 / 50, abs=0.01)
    assert finding.speedup.high is not None and finding.speedup.high < 1.3
    shares = budget_shares(diagnosis)
    assert shares["input-wait"] == pytest.approx(11.5 / 61.5, abs=0.001)
    assert shares["device-compute"] == pytest.approx(44 / 61.5, abs=0.001)


def test_a_device_that_is_never_idle_is_not_input_bound() -> None:
    trace = record_on_device(loop_that_waits(55.5, 0.01), processes=[build.MAIN, worker()])
    diagnosis = diagnose_trace(trace)
    assert diagnosis.findings == [] and diagnosis.verdict.id == "unknown"
    assert diagnosis.bound_by.id == "compute"


@pytest.mark.parametrize("idle", [11.5, None])
def test_counters_bound_the_waits_that_can_be_saved(idle: float | None) -> None:
    placed = {"host": "host", "device": 0}
    bare = record_on_device(loop_that_waits(55.5, idle), processes=[build.MAIN, worker()])
    load = [
        {**placed, "ts": at * 50 * MS, "name": "kernel_time_share", "value": 0.9}
        for at in range(60)
    ]
    tables = {
        **{name: frame for name in TABLES if (frame := bare.table(name)) is not None},
        "device_counters": build.table("device_counters", load),
        "device_processes": build.table("device_processes", [{**placed, "process": 0, "pid": 100}]),
    }
    bare.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    diagnosis = diagnose_trace(Trace(tables, {}, bare.manifests, span_ns=bare.span_ns))
    assert budget_shares(diagnosis)["input-wait"] == pytest.approx(0.1, abs=0.005)
    finding = finding_of(diagnosis, "input-bound")
    assert finding.speedup is not None and finding.speedup.likely == pytest.approx(1.11, abs=0.01)


def loop_of_python(device_busy: float | None) -> Trace:
    """Return a loop on a device that computes in Python for most of each step.

    `device_busy`: the share of the time in which the driver counts kernels, None without a driver.
    """
    loop = Loop()
    tables: dict[str, list[dict[str, Any]]] = {"outside_stacks": [], "thread_states": []}
    for _ in range(STEPS):
        begin = loop.at
        loop.idle(12).work()
        for at in range(begin, loop.at, MS):
            place = "convert (./train.py:30)" if at < begin + 12 * MS else "forward (torch/a.py:1)"
            row = {"process": 0, "tid": 100, "ts": at + MS // 2}
            stack = f"main (./train.py:20);{place}"
            tables["outside_stacks"].append({**row, "weight_ns": MS, "stack": stack})
            tables["thread_states"].append({**row, "state": "running"})
    if device_busy is not None:
        placed = {"host": "host", "device": 0}
        tables["device_counters"] = [
            {**placed, "ts": at * 10 * MS, "name": "kernel_time_share", "value": device_busy}
            for at in range(70)
        ]
        tables["device_processes"] = [{**placed, "process": 0, "pid": 100}]
    trace = record_on_device(loop, **tables)
    if device_busy is not None:
        trace.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    return trace


def test_code_of_the_host_is_only_possible_where_the_device_was_not_observed() -> None:
    diagnosis = diagnose_trace(loop_of_python(None))
    finding = finding_of(diagnosis, "host-code")
    assert (finding.severity, finding.speedup, finding.actions) == ("info", None, [])
    assert (diagnosis.verdict.id, diagnosis.bound_by.id) == ("unknown", "unknown")


def test_code_of_the_host_costs_the_time_in_which_counters_show_no_kernel() -> None:
    diagnosis = diagnose_trace(loop_of_python(0.7))
    finding = finding_of(diagnosis, "host-code")
    assert finding.severity != "info" and diagnosis.verdict.id == "host-code"
    assert finding.share == pytest.approx(0.3, abs=0.03)
    assert finding.speedup is not None and finding.speedup.high < 1.0 / 0.65


def test_code_of_the_host_costs_nothing_where_counters_always_show_kernels() -> None:
    assert "host-code" in diagnose_trace(loop_of_python(1.0)).clear


@pytest.mark.parametrize(("idle", "slept"), [(None, 0.0), (0.2, 0.2)])
def test_sleep_is_idle_time_up_to_that_of_the_device(idle: float | None, slept: float) -> None:
    trace = loop_of_python(None if idle is None else 1.0 - idle)
    tables = {name: frame for name in TABLES if (frame := trace.table(name)) is not None}
    tables["thread_states"] = tables["thread_states"].assign(state="sleep")
    sleeping = Trace(tables, {}, trace.manifests, span_ns=trace.span_ns)
    assert budget_shares(diagnose_trace(sleeping)).get("other-idle", 0.0) == pytest.approx(
        slept, abs=0.02
    )


def observed_from_outside(device_busy: float | None) -> Trace:
    """Return a recording without a probe: the main thread waits in the loader, or sleeps elsewhere.

    It waits in the loader for half of the time, and sleeps for three tenths.
    """
    place = {"process": 0, "tid": 100}
    inside = "main (./train.py:40);__next__ (torch/utils/data/dataloader.py:700)"
    tables: dict[str, list[dict[str, Any]]] = {"stacks": [], "thread_states": []}
    for number in range(100):
        tenth, row = number % 10, {**place, "ts": number * 10 * MS}
        stack = inside if tenth < 5 else "main (./train.py:41)"
        tables["stacks"].append({**row, "weight_ns": 10 * MS, "stack": stack})
        tables["thread_states"].append({**row, "state": "poll" if tenth < 8 else "running"})
    on_host = {"host": "host", "device": 0}
    if device_busy is not None:
        tables["device_counters"] = [
            {**on_host, "ts": at * 10 * MS, "name": "kernel_time_share", "value": device_busy}
            for at in range(100)
        ]
    tables["device_processes"] = [{**on_host, "process": 0, "pid": 100}]
    trace = Loop().trace(manifest={"depth": "observe"}, **tables)
    trace.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    return trace


def test_waits_that_were_only_observed_are_no_longer_than_the_device_is_idle() -> None:
    diagnosis = diagnose_trace(observed_from_outside(0.8))
    shares = budget_shares(diagnosis)
    assert shares["input-wait"] == pytest.approx(0.2, abs=0.01)
    assert shares["device-compute"] == pytest.approx(0.6, abs=0.01)
    assert "other-idle" not in shares
    finding = finding_of(diagnosis, "input-bound")
    assert finding.share == pytest.approx(0.2, abs=0.01) and finding.speedup is not None
    assert finding.speedup.high == pytest.approx(1.25, abs=0.02)
    assert diagnose_trace(observed_from_outside(0.99)).findings == []


def test_sleep_on_a_device_without_counters_may_be_a_wait_for_it() -> None:
    shares = budget_shares(diagnose_trace(observed_from_outside(None)))
    assert "other-idle" not in shares
    assert shares["compute-or-host"] == pytest.approx(0.5, abs=0.01)


def test_without_steady_steps_counters_say_how_long_the_device_is_idle() -> None:
    trace = observed_from_outside(0.8)
    for counted, idle in ((None, 1.0), (CountedIdle(0.2, 0.01), 0.21)):
        assert idle_share(trace, 0, DeviceEvidence(None, None, counted)) == pytest.approx(idle)


def read_results(*, compiled: bool) -> Trace:
    """Return inference that reads its results from a device that is busy for 0.9 of the time.

    Where nothing is compiled, the probe times the copies.
    """
    loop = StackedLoop()
    for _ in range(STEPS):
        layer = f"{MODULE};forward (./infer.py:20)"
        loop.run(6, layer, category="forward", object=1, value=0)
        if compiled:
            loop.run(33, "", cpu=0.2)
        else:
            loop.stacks.append((loop.at, MAIN))
            add_copy(loop, 33, 0.1, direction="d2h")
            loop.cpu.append((loop.at, loop.cpu[-1][1] + 6 * MS, 0.0))
        loop.run(1, "")
    placed = {"host": "host", "device": 0}
    states = [
        {"process": 0, "tid": 100, "ts": at * MS, "state": "poll" if at % 40 > 8 else "running"}
        for at in range(loop.at // MS)
    ]
    counters = [
        {**placed, "ts": at * 50 * MS, "name": "kernel_time_share", "value": 0.9}
        for at in range(loop.at // MS // 50)
    ]
    trace = loop.recording(
        manifest={"torch": CUDA},
        thread_states=states,
        device_counters=counters,
        device_processes=[{**placed, "process": 0, "pid": 100}],
    )
    trace.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    return trace


@pytest.mark.parametrize("compiled", [True, False])
def test_results_that_are_read_without_a_window_are_not_waits_for_data(compiled: bool) -> None:
    diagnosis = diagnose_trace(read_results(compiled=compiled))
    shares = budget_shares(diagnosis)
    assert shares.get("input-wait", 0.0) + shares.get("other-idle", 0.0) < 0.12
    assert "input-bound" not in {finding.id for finding in diagnosis.findings}
