"""Recordings with a profiling window on a device: the window is a trace like any other, and says
what the device did in the steps around it.
"""

from typing import Any

import numpy as np
import pytest

from perfscope.analyzer.budget.lines.finding_lines import line_waiting_for_device
from perfscope.analyzer.budget.trace_case import case_of, total
from perfscope.analyzer.compute.work_limits import work_limits
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.accelerators.device_window import (
    HOST_AHEAD,
    NOT_TYPICAL,
    device_window,
    end_of_whole_steps,
    window_trace,
)
from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop
from tests.analyzer.stacked_loop import StackedLoop

CUDA = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
STEPS, FIRST, LAST = 40, 20, 26
"""Steps, and those of the window; the window begins and ends inside a step."""


class Recorded:
    """A loop with a window of torch's profiler; times in ms from the begin of a step.

    `slower` is how much longer a step of the window takes.
    """

    def __init__(self, *, slower: float = 0.0) -> None:
        self.loop, self.slower = Loop(), slower
        self.window: dict[str, Any] = {}
        self.windowed = False
        self.begun = 0

    def steps(self, make_step: Any) -> "Recorded":
        """Make all steps; `make_step` gets this object, and adds one."""
        for step in range(STEPS):
            self.windowed = FIRST <= step < LAST
            self.begun = self.loop.at
            if step == FIRST:
                self.window["begin"] = self.begun - MS
            make_step(self)
            if self.windowed:
                self.loop.idle(self.slower)
        first, end = self.window["begin"], self.end_of_window
        self.window |= {"end": end, "ts": first - MS, "dur": end - first + 2 * MS}
        self.window |= {"process": 0, "steps": 5, "stall_ns": 0, "kept": True}
        return self

    @property
    def end_of_window(self) -> int:
        optimizers = [row for row in self.loop.tables["ranges"] if row["category"] == "optimizer"]
        return int(optimizers[LAST - 1]["ts"]) + MS

    def row(self, table: str, at: float, dur: float, **columns: Any) -> int:
        """Add a row to a table of the window, return its number; -1 outside of the window."""
        if not self.windowed:
            return -1
        rows = self.loop.tables.setdefault(table, [])
        ts = self.begun + round(at * MS)
        rows.append({"process": 0, "ts": ts, "dur": round(dur * MS), **columns})
        return len(rows) - 1

    def launch(self, at: float, begin: float, dur: float, name: str = "gemm") -> "Recorded":
        """Add an operator that launches a kernel."""
        op = self.row("ops", at, 0.02, tid=100, name="aten::mm")
        call = {"tid": 100, "name": "cudaLaunchKernel", "kind": "kernel", "op": op}
        correlation = len(self.loop.tables.get("launches", ())) + 1
        launch = self.row("launches", at, 0.01, correlation=correlation, **call)
        kind = "communication" if name.startswith("nccl") else "compute"
        place = {"device": 0, "stream": 7, "correlation": correlation, "launch": launch}
        self.row("kernels", begin, dur, name=name, kind=kind, **place)
        return self

    def sync(self, at: float, dur: float) -> "Recorded":
        """Add a call that waits for the device."""
        self.row("launches", at, dur, tid=100, name="cudaStreamSynchronize", kind="sync")
        return self

    def trace(self, **changed: list[dict[str, Any]]) -> Trace:
        tables = {**self.loop.tables, "windows": [self.window], **changed}
        manifest = {"depth": "kernels", "torch": CUDA}
        return Loop().trace(manifest=manifest, **tables)


def budget(diagnosis: Diagnosis) -> dict[str, float]:
    return {entry.category: entry.share for entry in diagnosis.time_budget}


def device_bound(recorded: Recorded) -> None:
    """Add a step of 50 ms in which the device works for 46."""
    recorded.loop.next(0.1).work().call("sync", 43.9)
    recorded.launch(1, 2, 46).sync(6.1, 43.9)


def launch_bound(recorded: Recorded) -> None:
    """Add a step of 20 ms, with ten kernels of 1 ms that are launched every 2 ms."""
    recorded.loop.next(0.1).forward(7).backward(11.9).optimizer(1)
    for number in range(10):
        recorded.launch(2 * number, 2 * number + 0.1, 0.9)


def test_the_window_says_what_the_device_did() -> None:
    diagnosis = diagnose_trace(Recorded().steps(device_bound).trace())
    assert budget(diagnosis)["device-compute"] == pytest.approx(0.92, abs=0.01)
    assert diagnosis.bound_by.id == "compute"
    assert diagnosis.budget_over == "steps"


def test_launches_that_are_too_slow_are_found_in_a_recording() -> None:
    diagnosis = diagnose_trace(Recorded().steps(launch_bound).trace())
    shares = budget(diagnosis)
    assert diagnosis.verdict.id == "launch-bound"
    assert shares["device-compute"] == pytest.approx(0.45, abs=0.02)
    assert shares["host-bound"] == pytest.approx(0.55, abs=0.03)
    finding = next(found for found in diagnosis.findings if found.id == "launch-bound")
    assert finding.scope == "steps" and finding.share == pytest.approx(0.53, abs=0.03)
    assert finding.lost_s == pytest.approx(finding.share * 0.02 * diagnosis.steps.count, rel=0.01)


def test_what_the_profiler_adds_to_a_step_is_not_a_loss() -> None:
    diagnosis = diagnose_trace(Recorded(slower=10).steps(launch_bound).trace())
    shares = budget(diagnosis)
    assert shares["device-compute"] == pytest.approx(0.45, abs=0.02)
    finding = next(found for found in diagnosis.findings if found.id == "launch-bound")
    assert finding.share <= shares["host-bound"] + 0.01


def test_steps_whose_kernels_were_cut_off_do_not_count() -> None:
    recorded = Recorded().steps(launch_bound)
    kernels = recorded.loop.tables["kernels"]
    whole = recorded.trace()
    cut = recorded.trace(kernels=kernels[: int(0.7 * len(kernels))])
    window = cut.fact(device_window)
    assert window is not None and window.left_out == 3  # the first, and two without kernels
    before, after = budget(diagnose_trace(whole)), budget(diagnose_trace(cut))
    assert after["device-compute"] == pytest.approx(before["device-compute"], abs=0.01)


def test_kernels_before_their_launches_are_not_used() -> None:
    recorded = Recorded().steps(device_bound)
    shifted = [{**row, "ts": row["ts"] - 5 * MS} for row in recorded.loop.tables["kernels"]]
    trace = recorded.trace(kernels=shifted)
    window = trace.fact(device_window)
    assert window is not None and window.trace is None and "times" in window.why_not
    groups = {item.id: item.group for item in diagnose_trace(trace).not_checked}
    assert groups["host-sync"] == "no-kernels"


def test_a_window_without_kernels_is_not_work_of_the_cpu() -> None:
    recorded = Recorded().steps(device_bound)
    del recorded.loop.tables["kernels"]
    trace = recorded.trace()
    assert work_units(trace) == []
    diagnosis = diagnose_trace(trace)
    reasons = {item.id: item.reason for item in diagnosis.not_checked}
    for id in ("launch-bound", "host-sync", "memory-bound", "exposed-copy"):
        assert "no kernels" in reasons[id]


def test_a_loop_that_waits_for_data_while_the_device_works_is_not_input_bound() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(40, workers=1).work()
        recorded.launch(41, 41.1, 44)

    diagnosis = diagnose_trace(Recorded().steps(step).trace())
    assert budget(diagnosis)["device-compute"] > 0.9
    assert "input-bound" not in {finding.id for finding in diagnosis.findings}
    assert diagnosis.bound_by.id == "compute"


def test_synchronizing_calls_that_leave_the_device_idle_are_found_in_a_recording() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).forward(4).backward(4).optimizer(1).call("sync", 6).idle(4.9)
        recorded.launch(1, 1.1, 13).sync(9.1, 6)

    diagnosis = diagnose_trace(Recorded().steps(step).trace())
    assert "host-sync" in {finding.id for finding in diagnosis.findings}
    assert budget(diagnosis)["device-compute"] == pytest.approx(0.65, abs=0.02)


def test_copies_on_the_device_are_found_in_a_recording() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).work().idle(3.9)
        call = {"tid": 100, "name": "cudaMemcpyAsync", "kind": "copy"}
        launch = recorded.row("launches", 0.1, 2, **call)
        place = {"device": 0, "stream": 7, "launch": launch, "pinned": 0, "bytes": 8_000_000}
        recorded.row("copies", 0.2, 2, direction="h2d", **place)
        recorded.launch(2.2, 2.3, 7.7)

    diagnosis = diagnose_trace(Recorded().steps(step).trace())
    assert {"exposed-copy", "pageable-copy"} <= {finding.id for finding in diagnosis.findings}
    assert budget(diagnosis)["exposed-copy"] == pytest.approx(0.2, abs=0.01)


def test_copies_are_found_where_the_host_is_steps_ahead_of_the_device() -> None:
    ahead_ms = 30.0

    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).work().idle(3.9)
        call = {"tid": 100, "name": "cudaMemcpyAsync", "kind": "copy"}
        launch = recorded.row("launches", 0.1, 0.01, **call)
        place = {"device": 0, "stream": 7, "launch": launch, "pinned": 1, "bytes": 8_000_000}
        recorded.row("copies", ahead_ms + 0.2, 2, direction="h2d", **place)
        recorded.launch(2.2, ahead_ms + 2.2, 8)

    diagnosis = diagnose_trace(Recorded().steps(step).trace())
    assert diagnosis.verdict.id == "exposed-copy"
    assert budget(diagnosis)["exposed-copy"] == pytest.approx(0.2, abs=0.01)


def test_work_that_is_done_in_the_step_after_its_launch_is_counted_there() -> None:
    numbers = iter(range(STEPS))

    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).work()
        begin = 1.1
        if next(numbers) % 2:
            recorded.loop.call("sync", 7.8)
            begin = 5.0
        recorded.launch(1, begin, 9.9)

    shares = budget(diagnose_trace(Recorded().steps(step).trace()))
    assert shares["device-compute"] == pytest.approx(0.99, abs=0.01)


@pytest.mark.parametrize(("before_ms", "why_not"), [(0.0, ""), (60.0, HOST_AHEAD)])
def test_work_that_is_done_after_the_window_belongs_to_the_steps_that_launched_it(
    before_ms: float, why_not: str
) -> None:
    """The host runs ahead in the window, as after each value that it reads.

    `before_ms`: how long the device works on what was launched before the window.
    """
    numbers = iter(range(STEPS))

    def step(recorded: Recorded) -> None:
        ahead_ms = before_ms + 8.0 * (next(numbers) - FIRST)
        if recorded.windowed:
            recorded.loop.next(0.1).forward(0.3).backward(0.4).optimizer(0.2)
        else:
            recorded.loop.next(0.1).forward(0.3).backward(0.4).optimizer(8.2)
        recorded.launch(0.5, 0.6 + ahead_ms, 8.95)

    trace = Recorded().steps(step).trace()
    window = trace.fact(device_window)
    assert window is not None and (window.trace is None, window.why_not) == (bool(why_not), why_not)
    diagnosis = diagnose_trace(trace)
    assert budget(diagnosis)["device-compute"] > 0.98
    assert diagnosis.verdict.id == "healthy" and diagnosis.bound_by.id == "compute"


@pytest.mark.parametrize(("end", "used"), [(290, 200), (90, 90), (100, 100)])
def test_a_window_without_a_whole_step_is_cut_to_whole_lengths_of_steps(
    end: int, used: int
) -> None:
    assert end_of_whole_steps(0, end, np.array([90, 110])) == used


def of_two_kinds(long_steps: set[int]) -> Recorded:
    """Return steps with one call of a module and 4 of 8 ms on the device, and long steps with 16
    calls and 16 of 20 ms.
    """
    numbers = iter(range(STEPS))

    def step(recorded: Recorded) -> None:
        calls, busy_ms, whole_ms = (16, 16, 20) if next(numbers) in long_steps else (1, 4, 8)
        recorded.loop.next(0.1)
        for _ in range(calls):
            recorded.loop.forward(0.05)
        recorded.loop.backward(whole_ms - 0.2 - 0.05 * calls).optimizer(0.1)
        recorded.launch(0.1, 0.2, busy_ms)

    return Recorded().steps(step)


def test_kinds_of_steps_count_as_often_as_in_the_whole_recording() -> None:
    shares = budget(diagnose_trace(of_two_kinds(set(range(0, STEPS, 2))).trace()))
    assert shares["device-compute"] == pytest.approx(10 / 14, abs=0.01)


def test_a_window_without_a_kind_of_steps_is_not_used() -> None:
    trace = of_two_kinds({2, 6, 10, 14, 18, 28, 32, 36}).trace()
    window = trace.fact(device_window)
    assert window is not None and window.trace is None and window.why_not == NOT_TYPICAL
    assert diagnose_trace(trace).verdict.id == "unknown"


def test_python_before_the_first_event_of_a_window_counts_as_the_hosts() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).idle(9).forward(4).backward(4).optimizer(3)
        for number in range(10):
            recorded.launch(9.2 + number, 9.3 + number, 0.9)

    shares = budget(diagnose_trace(Recorded().steps(step).trace()))
    assert shares["host-bound"] > 0.5 and shares.get("other-idle", 0.0) < 0.01


def test_the_line_that_waits_for_the_device_is_named() -> None:
    loop = StackedLoop()
    for _ in range(60):
        loop.train()
        loop.run(20, "read (./train.py:33)", category="sync")
        loop.run(20, "prepare (./train.py:44)")
    finding = Finding("host-sync", None, "warning", 1.0, 0.4, None, "", [], [], processes=[0])
    where = line_waiting_for_device(loop.recording(manifest={"torch": CUDA}), finding)
    assert where is not None and (where.file, where.line) == ("train.py", 33)
    assert where.share.likely == pytest.approx(20 / 46, abs=0.05)


def reading_results(recorded: Recorded) -> None:
    """Add a step of 40 ms; the host is in a copy that the probe does not time for 33 of them.

    The device is idle for 12 ms: the host does not launch before the copy has returned.
    """
    loop = recorded.loop
    assert isinstance(loop, StackedLoop)
    loop.train().run(34, "infer (./train.py:70)", cpu=0.2)
    recorded.launch(1, 2, 26)
    recorded.row("ops", 6.1, 33.5, tid=100, name="aten::copy_")
    recorded.sync(6.2, 33.3)


def test_copies_that_the_probe_does_not_time_are_not_waits_for_data() -> None:
    recorded = Recorded()
    recorded.loop = loop = StackedLoop()
    recorded.steps(reading_results)
    manifest = {"depth": "kernels", "torch": CUDA}
    trace = loop.recording(manifest=manifest, windows=[recorded.window])
    diagnosis = diagnose_trace(trace)
    shares = budget(diagnosis)
    assert shares["device-compute"] == pytest.approx(26 / 40, abs=0.02)
    assert shares["sync-wait"] == pytest.approx(12 / 40, abs=0.05)
    assert shares.get("input-wait", 0.0) < 0.02
    assert diagnosis.verdict.id == "host-sync"


def test_operators_that_a_loop_without_modules_calls_are_not_host_code() -> None:
    recorded = Recorded()
    recorded.loop = loop = StackedLoop()

    def step(recorded: Recorded) -> None:
        loop.run(38, "chain (./train.py:70)")
        loop.run(2, "step (torch/optim/adam.py:1)", category="optimizer", object=1)
        for number in range(19):
            recorded.launch(2 * number, 2 * number + 0.1, 0.3)
            recorded.row("ops", 2 * number, 1.9, tid=100, name="aten::mul")

    recorded.steps(step)
    manifest = {"depth": "kernels", "torch": CUDA}
    diagnosis = diagnose_trace(loop.recording(manifest=manifest, windows=[recorded.window]))
    assert diagnosis.verdict.id == "launch-bound"
    assert "host-code" not in {finding.id for finding in diagnosis.findings}


def test_without_steps_outside_of_the_window_counters_bound_what_the_host_costs() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).forward(4).backward(4).optimizer(1).call("sync", 6).idle(4.9)
        recorded.launch(1, 1.1, 13).sync(9.1, 6)

    recorded = Recorded().steps(step)
    begin, end = recorded.window["begin"], recorded.window["end"]
    tables = {
        name: [row for row in rows if begin <= row["ts"] <= end]
        for name, rows in recorded.loop.tables.items()
    }
    placed = {"host": "host", "device": 0}
    for busy, least, most in ((None, 0.2, 0.4), (0.9, 0.05, 0.12)):
        more: dict[str, list[dict[str, Any]]] = {}
        if busy is not None:
            more["device_counters"] = [
                {**placed, "ts": at * 25 * MS, "name": "kernel_time_share", "value": busy}
                for at in range(30)
            ]
            more["device_processes"] = [{**placed, "process": 0, "pid": 100}]
        trace = recorded.trace(**tables, **more)
        trace.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
        assert not len(trace.fact(steady_steps))
        case = case_of(trace.fact(window_trace), Limits(), "sync-wait")
        assert least < total(case.of("sync-wait")) / case.span_ns < most


def test_kernels_launched_after_operators_were_recorded_are_not_work_of_unknown_kind() -> None:
    recorded = Recorded().steps(device_bound)
    launches = recorded.loop.tables["launches"]
    last = max(row["ts"] for row in launches if row["kind"] == "kernel")
    cut = [row | {"op": -1} if row["ts"] == last else row for row in launches]
    (before,) = recorded.trace().fact(work_limits).values()
    (after,) = recorded.trace(launches=cut).fact(work_limits).values()
    assert before.whole - after.whole == 46 * MS


def test_ignored_copies_of_a_window_are_not_unknown_activity() -> None:
    def step(recorded: Recorded) -> None:
        recorded.loop.next(0.1).work().idle(3.9)
        call = {"tid": 100, "name": "cudaMemcpyAsync", "kind": "copy"}
        launch = recorded.row("launches", 0.1, 2, **call)
        place = {"device": 0, "stream": 7, "launch": launch, "pinned": 1, "bytes": 8_000_000}
        recorded.row("copies", 0.2, 2, direction="h2d", **place)
        recorded.launch(2.2, 2.3, 7.7)

    diagnosis = diagnose_trace(Recorded().steps(step).trace(), ignored=["exposed-copy"])
    assert diagnosis.verdict.id == "healthy"
