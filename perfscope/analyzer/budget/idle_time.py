"""The limit of what the host can cost a program on a device: the time in which the device is idle.

A host that is slow or waits while the device works through its queue delays nothing.
"""

import msgspec

from perfscope.analyzer.budget.critical_rank import severity_of, steps_of
from perfscope.analyzer.budget.device_evidence import BUSY, timed_devices
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.traces.trace import Trace


def within_idle_time(trace: Trace, finding: Finding, limits: Limits) -> Finding | None:
    """Return a finding about the host with at most the idle time of the device as its loss.

    None where that is not worth a change. Without a device, and where nothing shows when it works,
    the finding stays as it is.
    """
    process = finding.processes[0] if finding.processes else None
    if process is None or process not in trace.fact(timed_devices) or finding.severity == "info":
        return finding
    rows = steps_of(trace, process)
    whole_ns = float(rows["dur"].sum())
    busy_ns = float(rows[list(BUSY)].to_numpy().sum())
    if not busy_ns:
        return finding
    idle = 1.0 - busy_ns / whole_ns
    speedup = finding.speedup
    if speedup is not None:
        speedup = at_most(speedup, whole_ns / busy_ns)
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


def at_most(speedup: Speedup, factor: float) -> Speedup:
    """Return a speedup that is not above this factor."""

    def limited(value: float | None) -> float | None:
        return None if value is None else round(min(value, factor), 3)

    return Speedup(
        limited(speedup.low), limited(speedup.likely), round(min(speedup.high, factor), 3)
    )
