"""What the other devices of a process do, while one of them is idle."""

from collections import Counter

from perfscope.analyzer.run.accelerators.device_activity import Activity, activity
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.traces.intervals import EMPTY, Spans, merged
from perfscope.traces.trace import Trace


def busy_elsewhere(trace: Trace, unit: Unit) -> Spans:
    """Return when another device of the unit's process is busy; never for its only device."""
    busy = trace.fact(busy_by_device)
    others = [
        spans
        for (process, device), spans in busy.items()
        if process == unit.process and device != unit.device
    ]
    return merged(*others) if others else EMPTY


def busy_by_device(trace: Trace) -> dict[tuple[int, int], Spans]:
    """Return the intervals in which each device works, by (process, device).

    Only processes that use several devices have them. A collective does not count as work: during
    it a device may wait itself.
    """
    known = [unit for unit in units(trace) if unit.device != NO_DEVICE]
    devices = Counter(unit.process for unit in known)
    return {
        (unit.process, unit.device): work_of(activity(trace, unit))
        for unit in known
        if devices[unit.process] > 1
    }


def work_of(active: Activity) -> Spans:
    """Return when a device computes or copies."""
    return merged(active.compute, active.copy)
