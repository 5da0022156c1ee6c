"""What a device was busy with: computation, communication and copies."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import (
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    EXPOSED_COPY,
    PEER_WAIT,
)
from perfscope.analyzer.run.budget_units import Unit
from perfscope.analyzer.run.process_rows import table_rows_on
from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints, Spans, merged, subtracted
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Activity:
    """Sorted disjoint interval sets, ns.

    `communication` and `copy` include what overlaps with computation.
    """

    compute: Spans
    communication: Spans
    waiting: Spans
    """The part of communication before the last rank has arrived, where that is known."""
    copy: Spans

    def kinds(self) -> list[tuple[str, Spans]]:
        """Return categories of the time budget; the first that covers an instant counts.

        A device that moves one collective while another waits for a peer communicates.
        """
        transferring = subtracted(self.communication, self.waiting)
        return [
            (DEVICE_COMPUTE, self.compute),
            (EXPOSED_COMMUNICATION, transferring),
            (PEER_WAIT, self.waiting),
            (EXPOSED_COPY, self.copy),
        ]


def activity(trace: Trace, unit: Unit) -> Activity:
    """Return the activity of one device."""
    known = trace.fact(known_activities)
    key = unit.process, unit.device
    if key not in known:
        known[key] = find_activity(trace, unit)
    return known[key]


def known_activities(trace: Trace) -> dict[tuple[int, int], Activity]:
    """Return the activity of each device that was asked for before."""
    return {}


def find_activity(trace: Trace, unit: Unit) -> Activity:
    """Return the `activity` of one device, without the cache."""
    kernels, copies = rows_on(trace, "kernels", unit), rows_on(trace, "copies", unit)
    talks = np.zeros(0, bool)
    if kernels is not None:
        talks = (kernels["kind"] == "communication").to_numpy()
    ts, end = column(kernels, "ts"), column(kernels, "ts") + column(kernels, "dur")
    communication = merged((ts[talks], end[talks]))
    moved = column(copies, "ts")
    return Activity(
        compute=merged((ts[~talks], end[~talks])),
        communication=communication,
        waiting=waits_for_last_rank(trace, unit),
        copy=merged((moved, moved + column(copies, "dur"))),
    )


def rows_on(trace: Trace, name: str, unit: Unit) -> pd.DataFrame | None:
    """Return the rows of `kernels`, `copies` or `collectives` on one device.

    None without the table.
    """
    return table_rows_on(trace, name, unit.process, unit.device)


def rows_on_device(rows: pd.DataFrame, device: int) -> pd.DataFrame:
    """Return the rows of one device; most processes use only one."""
    on_device = column(rows, "device") == device
    return rows if on_device.all() else rows[on_device]


def waits_for_last_rank(trace: Trace, unit: Unit) -> Spans:
    """Return when this device was in a collective that its last rank had not reached.

    Without the time in which another collective ran.
    """
    rows = rows_on(trace, "collectives", unit)
    if rows is None or not len(rows):
        return merged()
    arrival = column(trace.fact(matched_collectives), "arrival_ns")[rows.index.to_numpy()]
    ts, end = column(rows, "ts"), column(rows, "ts") + column(rows, "dur")
    until: Ints = np.where(arrival >= 0, np.clip(arrival, ts, end), ts)
    return subtracted(merged((ts, until)), merged((until, end)))
