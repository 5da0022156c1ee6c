"""Findings of recorded traces: each fires on a timetable that has the illness, is silent on one
that has not, and abstains.
"""

from types import ModuleType

import pytest

from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.budget.trace_case import NO_ACCELERATOR, NO_KERNELS, WANTS_TRACE
from perfscope.analyzer.check_findings import NOT_IN_TRACES, outcome
from perfscope.analyzer.communication import exposed_communication, small_collectives
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Clear, Finding, NotChecked
from perfscope.analyzer.findings import FINDINGS
from perfscope.analyzer.host import checkpoint_stall, host_sync, launch_bound, profiler_overhead
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.memory import (
    allocator_retries,
    exposed_copy,
    fragmentation,
    memory_pressure,
    pageable_copy,
)
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.traced.gpu import US, Gpu

GIB = 1 << 30
OF_DEVICES = (
    launch_bound,
    host_sync,
    exposed_communication,
    small_collectives,
    pageable_copy,
    exposed_copy,
    profiler_overhead,
)


def found(module: ModuleType, trace: Trace) -> Finding:
    result = outcome(module.RULE, trace, LIMITS)
    assert isinstance(result, Finding), result
    return result


def reason(module: ModuleType, trace: Trace) -> str:
    result = outcome(module.RULE, trace, LIMITS)
    assert isinstance(result, NotChecked), result
    return result.reason


def clear(module: ModuleType, trace: Trace) -> bool:
    return outcome(module.RULE, trace, LIMITS) == Clear(module.RULE.id)


def busy(steps: int = 10) -> Gpu:
    """Steps of 100 us in which the device computes without a gap, launched 60 us ahead."""
    gpu = Gpu()
    for step in range(steps):
        gpu.started(step * 100, step * 100 + 60, 100)
        gpu.span(step * 100, 100, "step", f"ProfilerStep#{step}")
    return gpu


def late(between: str) -> Gpu:
    """Kernels of 5 us, each launched 100 us after the one before, because of what the host does."""
    gpu = Gpu()
    for step in range(10):
        at = step * 100
        if between == "operators":
            gpu.op(at, 95, "aten::linear")
        gpu.started(at + 80, at + 90, 5, call_dur=8)
        gpu.rows["launches"][-1]["op"] = step if between == "operators" else -1
    return gpu


def test_launch_bound_when_the_host_is_late() -> None:
    finding = found(launch_bound, late("operators").trace())
    assert finding.cause == "short-kernels"
    assert finding.share == pytest.approx((90 + 9 * 95) / 995, abs=1e-3)
    assert finding.speedup is not None and finding.speedup.high == pytest.approx(995 / 50, abs=0.01)
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (95 * US, 190 * US)
    assert any("aten::linear 100 %" in one.text for one in finding.evidence)
    assert found(launch_bound, late("nothing recorded").trace()).cause == "python"
    assert clear(launch_bound, busy(50).trace())


def test_what_the_host_did_in_gaps_is_told_apart() -> None:
    gpu = Gpu().op(0, 40).started(20, 30, 10, call_dur=5).span(40, 20, "python", "f")
    gpu.add("launches", 70, 2000, tid=100, name="cudaFuncLoad", kind="other").started(
        2080, 2090, 10
    )
    gaps = host_gaps(gpu.trace())
    assert gaps.groupby("doing")["dur"].sum().to_dict() == {
        "operators": 25 * US,  # 0 to 20, 25 to 30
        "launching": 10 * US,
        "python": 20 * US,
        "driver": 2000 * US,
        "unrecorded": 25 * US,  # 60 to 70, 2070 to 2080, 2085 to 2090
    }


def test_a_recording_of_a_start_is_no_verdict_on_the_run() -> None:
    gpu = Gpu().add("launches", 0, 50_000, tid=100, name="cudaFuncLoad", kind="other")
    for step in range(10):
        gpu.started(50_000 + step * 100, 50_010 + step * 100, 10)
    said = diagnose_trace(gpu.trace()).verdict
    assert said.id == "unknown"
    assert "98 %" in said.headline


def synchronising(*, launched_after: bool) -> Gpu:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.op(at + 20, 850, "aten::item").span(at, 1000, "step", f"ProfilerStep#{step}")
        gpu.started(at, at + 10, 500).sync(at + 30, 600)
        gpu.rows["launches"][-1]["op"] = step
    if not launched_after:
        gpu.started(5995, 6000, 4000)
    return gpu


def test_host_sync_names_the_operator_and_how_often() -> None:
    finding = found(host_sync, synchronising(launched_after=True).trace())
    # Behind each of the first five calls the device is idle from 510 to the kernel of the next step
    # at 1010.
    assert finding.lost_s == pytest.approx(5 * 500e-6)
    assert "aten::item (cudaStreamSynchronize)" in finding.explanation
    assert ".item()" in finding.actions[0].text
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (510 * US, 1010 * US)
    assert clear(host_sync, busy().sync(990, 75).trace())


def test_exposed_communication_by_kind_and_what_one_rank_cannot_tell() -> None:
    gpu = busy(4).started(380, 460, 300, "ncclDevKernel_AllReduce", stream=9)
    gpu.add(
        "collectives",
        460,
        300,
        device=0,
        kind="all_reduce",
        in_bytes=50_000_000,
        group="0",
        group_size=8,
        kernel=4,
    )
    finding = found(exposed_communication, gpu.trace())
    assert finding.lost_s == pytest.approx(300e-6)
    assert "other ranks" in finding.explanation
    assert any(
        one.text.startswith("all_reduce in group 0: 1 collective") and "50 MB" in one.text
        for one in finding.evidence
    )
    assert reason(exposed_communication, busy().trace()) == "no communication ran on the device"
    hidden = busy(4).started(100, 160, 100, "ncclDevKernel_AllReduce", stream=9)
    assert clear(exposed_communication, hidden.trace())


def many_small(size: int) -> Gpu:
    gpu = busy(4)
    for number in range(40):
        at = 460 + 25 * number
        gpu.started(at - 30, at, 25, "ncclDevKernel_AllReduce", stream=9)
        gpu.add(
            "collectives", at, 25, device=0, kind="all_reduce", in_bytes=size, kernel=4 + number
        )
    return gpu


def test_small_collectives_need_sizes() -> None:
    finding = found(small_collectives, many_small(4096).trace())
    assert finding.lost_s == pytest.approx(1000e-6)
    assert clear(small_collectives, many_small(50_000_000).trace())
    assert "sizes" in reason(small_collectives, many_small(-1).trace())


def test_exposed_copies_across_the_bus_only() -> None:
    finding = found(exposed_copy, busy(4).copied(395, 460, 200).trace())
    assert finding.lost_s == pytest.approx(200e-6)
    assert "from the host" in finding.headline
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (460 * US, 660 * US)
    assert clear(exposed_copy, busy(4).copied(395, 460, 200, "d2d").trace())
    assert clear(exposed_copy, busy(4).copied(100, 160, 200).trace())


def test_pageable_copies_hold_the_host() -> None:
    gpu = busy(4).copied(470, 480, 180, call_dur=200).started(680, 690, 10)
    gpu.rows["copies"][0] |= {"pinned": 0, "bytes": 18_000_000}
    finding = found(pageable_copy, gpu.trace())
    assert finding.lost_s == pytest.approx(200e-6)  # the call from 470 to 670
    assert "18 MB" in finding.evidence[0].text
    gpu.rows["copies"][0] |= {"pinned": 1}
    assert clear(pageable_copy, gpu.trace())
    gpu.rows["copies"][0] |= {"pinned": -1}
    assert "pinned" in reason(pageable_copy, gpu.trace())
    assert "no copy" in reason(pageable_copy, busy().trace())


def test_allocator_calls_in_steps_and_not_before_them() -> None:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.span(at, 1000, "step", f"ProfilerStep#{step}").started(at, at + 10, 500)
        gpu.add("launches", at + 520, 400, tid=100, name="cudaFree", kind="memory")
    finding = found(allocator_retries, gpu.trace())
    assert finding.lost_s == pytest.approx(6 * 400e-6)
    assert "6 cudaFree" in finding.explanation and "empty_cache" in finding.actions[1].text
    assert clear(allocator_retries, busy().trace())
    assert "steps" in reason(allocator_retries, Gpu().started(0, 10, 20).trace())


def held(reserved: int, allocated: int, whole: int = 80 * GIB) -> Trace:
    memory = [
        {"device": 0, "ts": 5, "bytes": 1, "allocated_bytes": allocated, "reserved_bytes": reserved}
    ]
    devices = [{"device": 0, "memory_bytes": whole, "name": "H100", "kind": "cuda"}]
    return busy().trace(memory=memory, devices=devices)


def test_memory_pressure_and_fragmentation() -> None:
    finding = found(memory_pressure, held(78 * GIB, 77 * GIB))
    assert (finding.lost_s, finding.evidence[0].start_ns, finding.evidence[0].device) == (0.0, 5, 0)
    assert clear(memory_pressure, held(60 * GIB, 59 * GIB))
    assert "how much memory" in reason(memory_pressure, held(78 * GIB, 77 * GIB, -1))
    assert reason(memory_pressure, busy().trace()).startswith("memory: ")
    assert found(fragmentation, held(60 * GIB, 20 * GIB)).severity == "info"
    assert clear(fragmentation, held(60 * GIB, 59 * GIB))
    assert clear(fragmentation, held(GIB, GIB // 4))


def test_only_waits_for_input_that_leave_the_device_idle_count() -> None:
    gpu = busy(4).add("loader", 470, 500, tid=100, kind="next", workers=0).started(975, 980, 10)
    finding = found(input_bound, gpu.trace())
    assert finding.cause == "in-process-loading"
    assert finding.lost_s == pytest.approx(500e-6)
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (470 * US, 970 * US)
    assert clear(
        input_bound, busy(4).add("loader", 100, 90, tid=100, kind="next", workers=0).trace()
    )
    assert "loader" in reason(input_bound, busy().trace())


def test_the_profilers_own_time_is_told_and_is_no_loss() -> None:
    finding = found(
        profiler_overhead, busy(4).span(470, 400, "overhead").started(880, 885, 10).trace()
    )
    assert (finding.severity, finding.lost_s) == ("info", 0.0)
    assert clear(profiler_overhead, busy().trace())


@pytest.mark.parametrize("module", OF_DEVICES, ids=lambda module: str(module.RULE.id))
def test_without_a_device_they_say_why(module: ModuleType) -> None:
    assert reason(module, build.trace()) == WANTS_TRACE
    assert (
        reason(module, build.trace(ops=[{"tid": 1, "ts": 0, "dur": 9, "name": "aten::mm"}]))
        == NO_ACCELERATOR
    )
    launches = [{"tid": 1, "ts": 0, "dur": 9, "name": "cudaLaunchKernel", "kind": "kernel"}]
    assert reason(module, build.trace(launches=launches)) == NO_KERNELS


def test_what_a_profilers_trace_cannot_show_is_not_called_clear() -> None:
    trace = busy().trace()
    silent = {rule.id for rule in FINDINGS if not rule.in_traces}
    of_the_host = {
        "gc-pause",
        "gil-contention",
        "cpu-oversubscription",
        "cpu-throttled",
        "memory-growth",
    }
    of_counters = {
        *("pcie-saturated", "pcie-downtrained", "throttled", "power-capped", "idle-device"),
        *("shared-gpu", "wrong-gpu", "numa-mismatch", "link-errors", "device-lost"),
    }
    assert silent == of_the_host | of_counters
    lacking = {one.id: one.reason for one in diagnose_trace(trace).not_checked}
    assert {name for name, why in lacking.items() if why == NOT_IN_TRACES} == silent
    assert "stacks" in reason(checkpoint_stall, trace)


def test_checkpoints_are_seen_where_python_functions_are_recorded() -> None:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.span(at, 1000, "step", f"ProfilerStep#{step}").started(at, at + 10, 500)
        gpu.span(at + 520, 400, "python", "torch/serialization.py(778): save")
    assert found(checkpoint_stall, gpu.trace()).share == pytest.approx(0.4)


def test_idle_time_with_work_in_the_queue_is_said_beside_the_verdict() -> None:
    gpu = busy(4).started(100, 5000, 10).started(110, 5010, 2000, stream=9)
    assert "idle although its next work is launched" in (
        diagnose_trace(gpu.trace()).verdict.caveat or ""
    )
    ahead = Gpu().started(0, 5000, 8000)
    assert "first work" in (diagnose_trace(ahead.trace()).verdict.caveat or "")
