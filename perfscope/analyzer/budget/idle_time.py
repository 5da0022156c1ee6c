"""The limit of what the host can cost a program on a device: the time in which the device is idle.

A host that is slow or waits while the device works through its queue delays nothing.
"""

import msgspec

from perfscope.analyzer.budget.critical_rank import severity_of, steps_of
from perfscope.analyzer.budget.device_evidence import BUSY, DeviceEvidence, timed_devices
from perfscope.analyzer.categories import CHECKPOINT, INPUT_WAIT
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.accelerators.device_use import counted_idle, device_use
from perfscope.analyzer.run.loops.steps import steps
from perfscope.traces.trace import Trace

WITHOUT_DEVICE = (CHECKPOINT, INPUT_WAIT)
"""Categories whose findings already say what is known of the device: waits for data are limited to
its idle time, and a checkpoint copies the state from it.
"""
UNKNOWN_IDLE_TIME = "Whether the device is idle meanwhile was not measured."


def within_idle_time(trace: Trace, rule: Rule, finding: Finding, limits: Limits) -> Finding | None:
    """Return a finding about the host with at most the idle time of the device as its loss.

    None where that is not worth a change. Without a device the finding stays as it is; where
    nothing shows when the device works, it is information.
    """
    process = finding.processes[0] if finding.processes else None
    device = trace.fact(timed_devices).get(process) if process is not None else None
    if process is None or finding.severity == "info":
        return finding
    if device is None:
        counted = idle_without_steps(trace, process)
        return finding if counted is None else limited_to(counted, finding, limits)
    limited = limited_to(idle_share(trace, process, device), finding, limits)
    if limited is None or device.times_work or rule.category in WITHOUT_DEVICE:
        return limited
    return possible(limited)


def limited_to(idle: float, finding: Finding, limits: Limits) -> Finding | None:
    """Return a finding with at most this share of the steps as its loss."""
    speedup = finding.speedup
    if speedup is not None and idle < 1.0:
        speedup = at_most(speedup, 1.0 / (1.0 - idle))
    if finding.share <= idle:
        return msgspec.structs.replace(finding, speedup=speedup)
    if idle < limits.worth_share:
        return None
    hidden = f"The device works for {percent(1.0 - idle)} of each step, also meanwhile."
    return msgspec.structs.replace(
        finding,
        severity=severity_of(idle, limits),
        share=round(idle, 4),
        lost_s=round(finding.lost_s * idle / finding.share, 6),
        speedup=speedup,
        caveat=" ".join(filter(None, (finding.caveat, hidden))),
        actions=[msgspec.structs.replace(action, predictions=[]) for action in finding.actions],
    )


def idle_share(trace: Trace, process: int, device: DeviceEvidence) -> float:
    """Return the share of the steady steps of a process in which its device is idle, at most."""
    rows = steps_of(trace, process)
    whole_ns, busy_ns = float(rows["dur"].sum()), float(rows[list(BUSY)].to_numpy().sum())
    idle = 1.0 - busy_ns / whole_ns if whole_ns else 1.0
    if (device.window is None or not whole_ns) and device.counted is not None:
        idle = min(idle, device.counted.share + device.counted.error)
    return idle


def idle_without_steps(trace: Trace, process: int) -> float | None:
    """Return the share of the time in which the device of a process is idle, at most.

    For processes whose steps were not recorded: the driver lists them. None for all others.
    """
    on_device = any(process in use.processes for use in trace.fact(device_use))
    counted = counted_idle(trace, process) if on_device and not len(trace.fact(steps)) else None
    return None if counted is None else min(counted.share + counted.error, 1.0)


def possible(finding: Finding) -> Finding:
    """Return a finding as information: the device may work during all of its time."""
    return msgspec.structs.replace(
        finding,
        severity="info",
        speedup=None,
        caveat=" ".join(filter(None, (finding.caveat, UNKNOWN_IDLE_TIME))),
        actions=[],
    )


def at_most(speedup: Speedup, factor: float) -> Speedup:
    """Return a speedup that is not above this factor."""

    def limited(value: float | None) -> float | None:
        return None if value is None else round(min(value, factor), 3)

    return Speedup(
        limited(speedup.low), limited(speedup.likely), round(min(speedup.high, factor), 3)
    )
