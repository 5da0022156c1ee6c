"""The time in which the device's work is known: from its first to its last recorded work, without
what was lost in between.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, recording_of, table
from perfscope.traces.intervals import EMPTY, Spans, length_ns, merged, single_interval, subtracted
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from perfscope.traces.validation.lost_kernels import launches_by_process, unknown_device_time

MOST = 0.5
LITTLE = 0.001
"""Shares of the time from the first to the last work, and of all work."""


@dataclass(frozen=True)
class ObservedTime:
    """When the work of one device is known, and when it is not although something was launched.

    `lost_share` is the share of launches whose kernels were not recorded.
    """

    spans: Spans
    unknown: Spans = EMPTY
    lost_share: float = 0.0

    @property
    def total_ns(self) -> int:
        """How long the work is known."""
        return length_ns(self.spans)


def observed_time(trace: Trace, unit: Unit) -> ObservedTime:
    """Return when the work of a device is known; of a process without one all of its time."""
    return trace.fact(observed_by_unit)[unit.process, unit.device]


def observed_by_unit(trace: Trace) -> dict[tuple[int, int], ObservedTime]:
    """Return the `observed_time` of each process and device.

    In a device window nothing is lost: it consists of steps whose work was recorded, while its
    launches belong to later work where the queue is deep.
    """
    is_window = trace.fact(recording_of) is not None
    tables = {name: frame for name in TABLES if (frame := table(trace, name)) is not None}
    lost_by_process = {} if is_window else launches_by_process(tables)
    found = {}
    for unit in units(trace):
        span = single_interval(unit.begin_ns, unit.end_ns)
        if unit.device == NO_DEVICE:
            found[unit.process, unit.device] = ObservedTime(span)
            continue
        known = single_interval(*first_and_last_work(trace, unit))
        launches = lost_by_process.get(unit.process)
        if launches is None:
            found[unit.process, unit.device] = ObservedTime(known)
            continue
        unknown = unknown_device_time(tables.get("kernels"), launches, unit.end_ns)
        found[unit.process, unit.device] = ObservedTime(
            subtracted(known, unknown), unknown, float(launches.is_lost.mean())
        )
    return found


def first_and_last_work(trace: Trace, unit: Unit) -> tuple[int, int]:
    """Return the instants, in ns, at which a device begins to work and its last work ends.

    A little work on the other side of a pause that takes most of the trace does not count: it was
    launched before the recording, or it ends a server that has no requests.
    """
    begin, end = merged(work_spans(trace, unit))
    done_ns = np.cumsum(end - begin)
    pauses = begin[1:] - end[:-1]
    longest = int(np.argmax(pauses)) if len(pauses) else 0
    if not len(pauses) or pauses[longest] < MOST * (end[-1] - begin[0]):
        return int(begin[0]), int(end[-1])
    if done_ns[longest] < LITTLE * done_ns[-1]:
        return int(begin[longest + 1]), int(end[-1])
    if done_ns[-1] - done_ns[longest] < LITTLE * done_ns[-1]:
        return int(begin[0]), int(end[longest])
    return int(begin[0]), int(end[-1])


def work_spans(trace: Trace, unit: Unit) -> Spans:
    """Return the kernels and copies of a device."""
    begins, ends = [], []
    for name in ("kernels", "copies"):
        frame = table_rows(trace, name, unit.process)
        on_unit = column(frame, "device") == unit.device
        if on_unit.any():
            begins.append(column(frame, "ts")[on_unit])
            ends.append(begins[-1] + np.maximum(column(frame, "dur")[on_unit], 1))
    return np.concatenate(begins), np.concatenate(ends)
