"""What the other devices of a process do, while one of them is idle."""

from collections import defaultdict
from dataclasses import dataclass

from perfscope.analyzer.run.accelerators.device_activity import Activity, activity
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.traces.intervals import EMPTY, Spans, covered_alone, merged, subtracted
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class BusyDevices:
    """When a device of a process is busy: any of them, and by device, it and no other."""

    any_device: Spans
    alone: dict[int, Spans]


def busy_elsewhere(trace: Trace, unit: Unit) -> Spans:
    """Return when another device of the unit's process is busy; never for its only device."""
    busy = trace.fact(busy_by_process).get(unit.process)
    if busy is None:
        return EMPTY
    return subtracted(busy.any_device, busy.alone.get(unit.device, EMPTY))


def busy_by_process(trace: Trace) -> dict[int, BusyDevices]:
    """Return when the devices compute or copy, of the processes that use several.

    A collective does not count: there a device may wait itself. The sets of each device are not
    joined with those of all others, which would take quadratic time.
    """
    busy: dict[int, dict[int, Spans]] = defaultdict(dict)
    for unit in units(trace):
        if unit.device != NO_DEVICE:
            busy[unit.process][unit.device] = work_of(activity(trace, unit))
    return {
        process: BusyDevices(
            merged(*devices.values()),
            dict(zip(devices, covered_alone(list(devices.values())), strict=True)),
        )
        for process, devices in busy.items()
        if len(devices) > 1
    }


def work_of(active: Activity) -> Spans:
    """Return when a device computes or copies."""
    return merged(active.compute, active.copy)
