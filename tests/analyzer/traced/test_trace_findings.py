"""Findings of profilers' traces: each is found in a trace that has the bottleneck, clear in one
that has not, and not checked where it cannot be known.
"""

from types import ModuleType

import pytest

from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.budget.trace_case import (
    NO_ACCELERATOR,
    NO_KERNELS,
    WANTS_TRACE,
    case_of,
    mean_per_step,
    number_per_step,
)
from perfscope.analyzer.check_findings import NOT_IN_TRACES
from perfscope.analyzer.communication import exposed_communication, small_collectives
from perfscope.analyzer.diagnose import diagnose_trace
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
from tests.analyzer.claims import budget_shares
from tests.analyzer.outcomes import found, is_clear, not_checked
from tests.analyzer.traced.gpu import US, Gpu

GIB = 1 << 30
NEED_A_DEVICE = (
    launch_bound,
    host_sync,
    exposed_communication,
    small_collectives,
    pageable_copy,
    exposed_copy,
    profiler_overhead,
)


def busy_device(steps: int = 10) -> Gpu:
    """Return steps of 100 us in which the device always computes, launched 60 us ahead."""
    gpu = Gpu()
    for step in range(steps):
        gpu.started(step * 100, step * 100 + 60, 100)
        gpu.span(step * 100, 100, "step", f"ProfilerStep#{step}")
    return gpu


def late_launches(between: str) -> Gpu:
    """Return kernels of 5 us, launched 100 us apart, because the host runs `between` them."""
    gpu = Gpu()
    for step in range(10):
        at = step * 100
        if between == "operators":
            gpu.op(at, 95, "aten::linear")
        gpu.started(at + 80, at + 90, 5, call_dur=8)
        gpu.rows["launches"][-1]["op"] = step if between == "operators" else -1
    return gpu


def test_late_launches_are_launch_bound_by_what_the_host_does_between_them() -> None:
    finding = found(launch_bound, late_launches("operators").trace())
    assert finding.cause == "short-kernels"
    assert finding.share == pytest.approx(9 * 95 / 905, abs=1e-3)
    # Of each kernel of 5 us, 3 us are what any kernel takes.
    assert finding.speedup is not None and finding.speedup.high == pytest.approx(905 / 20, abs=0.1)
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (95 * US, 190 * US)
    assert any("aten::linear 100 %" in evidence.text for evidence in finding.evidence)
    assert found(launch_bound, late_launches("nothing recorded").trace()).cause == "python"
    assert is_clear(launch_bound, busy_device(50).trace())


def test_gaps_are_divided_by_what_the_host_did_in_them() -> None:
    gpu = Gpu().op(0, 40).started(20, 30, 10, call_dur=5).span(40, 20, "python", "f")
    gpu.add("launches", 70, 2000, tid=100, name="cudaFuncLoad", kind="other").started(
        2080, 2090, 10
    )
    gaps = host_gaps(gpu.trace(), 0, 0)
    assert gaps.groupby("doing")["dur"].sum().to_dict() == {
        "launching": 5 * US,
        "python": 20 * US,
        "driver": 2000 * US,
        "unrecorded": 25 * US,  # 60 to 70, 2070 to 2080, 2085 to 2090
    }


def test_a_trace_of_a_start_has_an_unknown_verdict() -> None:
    gpu = Gpu().started(0, 5, 10)
    gpu.add("launches", 20, 49_900, tid=100, name="cudaFuncLoad", kind="other")
    for step in range(10):
        gpu.started(50_000 + step * 100, 50_010 + step * 100, 10)
    verdict = diagnose_trace(gpu.trace()).verdict
    assert verdict.id == "unknown"
    assert "98 %" in verdict.headline


def synchronizing_steps(*, launched_after: bool) -> Gpu:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.op(at + 20, 850, "aten::item").span(at, 1000, "step", f"ProfilerStep#{step}")
        gpu.started(at, at + 10, 500).sync(at + 30, 600)
        gpu.rows["launches"][-1]["op"] = step
    if not launched_after:
        gpu.started(5995, 6000, 4000)
    return gpu


def test_host_sync_names_the_operator_and_the_call() -> None:
    finding = found(host_sync, synchronizing_steps(launched_after=True).trace())
    # After each of the first five calls the device is idle from 510 until the kernel of the next
    # step at 1010.
    assert finding.lost_s == pytest.approx(5 * 500e-6)
    assert "aten::item (cudaStreamSynchronize)" in finding.explanation
    assert ".item()" in finding.actions[0].text
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (510 * US, 1010 * US)
    assert is_clear(host_sync, busy_device().sync(990, 75).trace())


def test_exposed_communication_names_the_collectives_and_their_sizes() -> None:
    gpu = busy_device(4).started(380, 460, 300, "ncclDevKernel_AllReduce", stream=9)
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
    texts = [evidence.text for evidence in finding.evidence]
    assert any("all_reduce in group 0" in text and "50 MB" in text for text in texts)
    assert not_checked(exposed_communication, busy_device().trace()).group == "one-process"
    hidden = busy_device(4).started(100, 160, 100, "ncclDevKernel_AllReduce", stream=9)
    assert is_clear(exposed_communication, hidden.trace())


@pytest.mark.parametrize(
    ("kind", "name", "snippet"),
    [
        ("all_reduce", "SGD", "DistributedDataParallel(model, gradient_as_bucket_view=True)"),
        ("all_reduce", "DistributedDataParallel.forward", None),
        ("all_gather", "FSDP::all_gather", "module.set_modules_to_forward_prefetch([next_module])"),
        ("all_gather", "SGD", None),
        ("all_to_all", "SGD", None),
    ],
)
def test_the_way_to_overlap_fits_the_collectives(kind: str, name: str, snippet: str | None) -> None:
    gpu = busy_device(4).started(380, 460, 300, "ncclDevKernel", stream=9)
    gpu.op(0, 5, "autograd::engine::evaluate_function: MmBackward0").op(10, 5, name)
    gpu.add("collectives", 460, 300, device=0, kind=kind, in_bytes=1 << 20, kernel=4)
    finding = found(exposed_communication, gpu.trace())
    actions = {action.id: action.snippet for action in finding.actions}
    assert actions["overlap-communication"] == snippet


def many_collectives(size: int) -> Gpu:
    gpu = busy_device(4)
    for number in range(40):
        at = 460 + 25 * number
        gpu.started(at - 30, at, 25, "ncclDevKernel_AllReduce", stream=9)
        gpu.add(
            "collectives", at, 25, device=0, kind="all_reduce", in_bytes=size, kernel=4 + number
        )
    return gpu


def test_small_collectives_are_not_checked_without_sizes() -> None:
    finding = found(small_collectives, many_collectives(4096).trace())
    assert finding.lost_s == pytest.approx(1000e-6)
    assert is_clear(small_collectives, many_collectives(50_000_000).trace())
    assert "sizes" in not_checked(small_collectives, many_collectives(-1).trace()).reason


def test_only_copies_to_or_from_the_host_are_exposed_copies() -> None:
    finding = found(exposed_copy, busy_device(4).copied(395, 460, 200).trace())
    assert finding.lost_s == pytest.approx(200e-6)
    assert "from the host" in finding.headline
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (460 * US, 660 * US)
    assert is_clear(exposed_copy, busy_device(4).copied(395, 460, 200, "d2d").trace())
    assert is_clear(exposed_copy, busy_device(4).copied(100, 160, 200).trace())


def test_overlap_is_advised_where_computation_can_hide_copies_and_hides_no_more_than_it() -> None:
    """The device computes for 400 us, and copies for so long."""
    for copied_us, advised, hidden_us in (
        (200, "prefetch-to-device", 200),
        (600, "prefetch-to-device", 400),
        (2000, "send-fewer-bytes", 2000),
    ):
        finding = found(exposed_copy, busy_device(4).copied(395, 460, copied_us).trace())
        span_us = copied_us / finding.share
        assert finding.actions[0].id == advised
        assert finding.speedup is not None
        assert finding.speedup.high == pytest.approx(span_us / (span_us - hidden_us), rel=0.01)


def test_copies_of_pageable_memory_cost_the_time_of_their_call() -> None:
    gpu = busy_device(4).copied(470, 480, 180, call_dur=200).started(680, 690, 10)
    gpu.rows["copies"][0] |= {"pinned": 0, "bytes": 18_000_000}
    finding = found(pageable_copy, gpu.trace())
    assert finding.lost_s == pytest.approx(200e-6)  # the call from 470 to 670
    assert "18 MB" in finding.evidence[0].text
    gpu.rows["copies"][0] |= {"pinned": 1}
    assert is_clear(pageable_copy, gpu.trace())
    gpu.rows["copies"][0] |= {"pinned": -1}
    assert "pinned" in not_checked(pageable_copy, gpu.trace()).reason
    assert not_checked(pageable_copy, busy_device().trace()).group == "other"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("aten::copy_ (cudaStreamSynchronize)", "copy-without-waiting"),
        ("aten::_copy_from (cudaStreamSynchronize)", "copy-without-waiting"),
        ("aten::_local_scalar_dense (cudaStreamSynchronize)", "keep-numbers-on-device"),
        ("cudaDeviceSynchronize", "remove-synchronize"),
    ],
)
def test_the_change_depends_on_what_waits(name: str, id: str) -> None:
    (action,) = host_sync.sync_actions(name, "all of the idle time")
    assert action.id == id


@pytest.mark.parametrize("rule", [pageable_copy, exposed_copy])
@pytest.mark.parametrize(
    ("operator", "waits"), [("copy_", True), ("copy_", False), ("_local_scalar_dense", False)]
)
def test_copies_without_waits_save_the_idle_time_after_them(
    rule: ModuleType, operator: str, waits: bool
) -> None:
    gpu = busy_device(4).op(440, 200, f"aten::{operator}").copied(450, 460, 100, "d2h")
    gpu.rows["copies"][0] |= {"pinned": 0, "bytes": 4_000_000}
    gpu.sync(456, 150).started(640, 650, 10)
    for call in gpu.rows["launches"][-3:-1]:
        call["op"] = 0 if waits or operator != "copy_" else -1
    finding = found(rule, gpu.trace())
    span_us, idle_us = 600, 90 if waits else 0
    assert finding.lost_s == pytest.approx(100e-6, rel=0.01)
    assert finding.speedup is not None
    expected = span_us / (span_us - 100 - idle_us)
    assert finding.speedup.high == pytest.approx(expected, rel=0.02)


def test_calls_of_the_allocator_within_steps_are_allocator_retries() -> None:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.span(at, 1000, "step", f"ProfilerStep#{step}").started(at, at + 10, 500)
        gpu.add("launches", at + 520, 400, tid=100, name="cudaFree", kind="memory")
    finding = found(allocator_retries, gpu.trace())
    assert finding.lost_s == pytest.approx(5 * 400e-6)  # the last is after the last kernel
    assert "6 cudaFree" in finding.explanation
    assert "empty_cache" in finding.actions[1].text
    assert is_clear(allocator_retries, busy_device().trace())
    assert "steps" in not_checked(allocator_retries, Gpu().started(0, 10, 20).trace()).reason


def trace_with_memory(reserved: int, allocated: int, whole: int = 80 * GIB) -> Trace:
    memory = [
        {"device": 0, "ts": 5, "bytes": 1, "allocated_bytes": allocated, "reserved_bytes": reserved}
    ]
    devices = [{"device": 0, "memory_bytes": whole, "name": "H100", "kind": "cuda"}]
    return busy_device().trace(memory=memory, devices=devices)


def test_reserved_memory_is_pressure_and_unused_reserved_memory_is_fragmentation() -> None:
    finding = found(memory_pressure, trace_with_memory(78 * GIB, 77 * GIB))
    assert (finding.lost_s, finding.evidence[0].start_ns, finding.evidence[0].device) == (0.0, 5, 0)
    assert is_clear(memory_pressure, trace_with_memory(60 * GIB, 59 * GIB))
    for trace in (trace_with_memory(78 * GIB, 77 * GIB, -1), busy_device().trace()):
        assert not_checked(memory_pressure, trace).group == "not-in-this-format"
    assert found(fragmentation, trace_with_memory(60 * GIB, 20 * GIB)).severity == "info"
    assert is_clear(fragmentation, trace_with_memory(60 * GIB, 59 * GIB))
    assert is_clear(fragmentation, trace_with_memory(GIB, GIB // 4))


def test_only_waits_for_input_that_leave_the_device_idle_are_input_bound() -> None:
    gpu = (
        busy_device(4)
        .add("loader", 470, 500, tid=100, kind="next", workers=0)
        .started(975, 980, 10)
    )
    finding = found(input_bound, gpu.trace())
    assert finding.cause == "in-process-loading"
    assert finding.lost_s == pytest.approx(500e-6)
    assert (finding.evidence[0].start_ns, finding.evidence[0].end_ns) == (470 * US, 970 * US)
    hidden = busy_device(4).add("loader", 100, 90, tid=100, kind="next", workers=0)
    assert is_clear(input_bound, hidden.trace())
    assert "DataLoader" in not_checked(input_bound, busy_device().trace()).reason


def test_profiler_overhead_is_a_finding_that_costs_nothing() -> None:
    gpu = busy_device(4).span(470, 400, "overhead").started(880, 885, 10)
    finding = found(profiler_overhead, gpu.trace())
    assert (finding.severity, finding.lost_s) == ("info", 0.0)
    assert is_clear(profiler_overhead, busy_device().trace())


@pytest.mark.parametrize("module", NEED_A_DEVICE, ids=lambda module: str(module.RULE.id))
def test_findings_about_a_device_are_not_checked_without_one(module: ModuleType) -> None:
    assert not_checked(module, build.trace()).reason == WANTS_TRACE
    ops = [{"tid": 1, "ts": 0, "dur": 9, "name": "aten::mm"}]
    assert not_checked(module, build.trace(ops=ops)).reason == NO_ACCELERATOR
    launches = [{"tid": 1, "ts": 0, "dur": 9, "name": "cudaLaunchKernel", "kind": "kernel"}]
    assert not_checked(module, build.trace(launches=launches)).reason == NO_KERNELS


def test_findings_that_a_profilers_trace_cannot_show_are_not_checked() -> None:
    trace = busy_device().trace()
    only_in_recordings = {rule.id for rule in FINDINGS if not rule.in_traces}
    of_the_host = {
        "batching-delay",
        "blocking-call",
        "gc-pause",
        "gil-contention",
        "host-code",
        "cpu-oversubscription",
        "cpu-throttled",
        "hang",
        "memory-growth",
        "padding-waste",
        "sleep-in-loop",
        "validation-time",
        "growing-steps",
        "periodic-slow-steps",
        "recompilation",
        "explicit-call",
        "thread-count",
    }
    of_counters = {
        "pcie-saturated",
        "pcie-downtrained",
        "throttled",
        "power-capped",
        "idle-device",
        "shared-gpu",
        "wrong-gpu",
        "numa-mismatch",
        "link-errors",
        "device-lost",
    }
    of_engines = {
        "queueing",
        "kv-cache-pressure",
        "prefill-interference",
        "host-bound-decode",
        "graph-fallback",
        "compile-while-serving",
    }
    assert only_in_recordings == of_the_host | of_counters | of_engines
    reasons = {item.id: item.reason for item in diagnose_trace(trace).not_checked}
    assert {id for id, why in reasons.items() if why == NOT_IN_TRACES} == only_in_recordings
    assert "stacks" in not_checked(checkpoint_stall, trace).reason


def test_checkpoints_are_found_where_python_functions_are_recorded() -> None:
    gpu = Gpu()
    for step in range(6):
        at = step * 1000
        gpu.span(at, 1000, "step", f"ProfilerStep#{step}").started(at, at + 10, 500)
        gpu.span(at + 520, 400, "python", "torch/serialization.py(778): save")
    assert found(checkpoint_stall, gpu.trace()).share == pytest.approx(0.4)


def test_idle_time_of_a_device_with_launched_work_is_a_caveat_of_the_verdict() -> None:
    gpu = busy_device(4).started(100, 5000, 10).started(110, 5010, 2000, stream=9)
    diagnosis = diagnose_trace(gpu.trace())
    idle = budget_shares(diagnosis)["other-idle"]
    assert f"{idle:.0%}".replace("%", " %") in (diagnosis.verdict.caveat or "")
    ahead = diagnose_trace(Gpu().started(0, 5000, 8000).trace())
    assert {row.phase: row.share for row in ahead.run_budget}["not-recorded"] == 5000 / 13000


def test_what_is_outside_of_steps_is_not_divided_among_them() -> None:
    gpu = Gpu()
    for step in range(10):
        gpu.span(1000 * step, 1000, "step", f"ProfilerStep#{step}")
        gpu.copied(1000 * step, 1000 * step + 100, 500)
        gpu.started(1000 * step, 1000 * step + 600, 400)
    gpu.copied(10_000, 10_000, 10_000)  # once, after the steps, and as long as all of them
    case = case_of(gpu.trace(), LIMITS)
    assert case.steps > 0 and case.filled == pytest.approx(0.5, abs=0.1)
    assert mean_per_step(case, case.span_ns) <= 1000 * US
    assert number_per_step(case, 20 * case.steps) == 20
