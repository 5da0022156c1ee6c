"""What a device was busy with: computation first, then communication that it does not hide, then
copies.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import (
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    EXPOSED_COPY,
    PEER_WAIT,
)
from perfscope.analyzer.run.matched_collectives import matched_collectives
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import Unit
from perfscope.traces.intervals import Ints, Spans, merged, subtracted
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Activity:
    """Sorted disjoint interval sets, ns. `communication` and `copy` are whole: what computation
    hides is still in them.
    """

    compute: Spans
    communication: Spans
    waiting: Spans  # the part of communication before the last rank has come, where that is known
    copy: Spans

    def kinds(self) -> list[tuple[str, Spans]]:
        """Categories of the time budget, the first that covers an instant has it.

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
    """The activity of one device."""
    kernels, copies = rows_on(trace, "kernels", unit), rows_on(trace, "copies", unit)
    talks = (
        np.zeros(0, bool) if kernels is None else (kernels["kind"] == "communication").to_numpy()
    )
    ts, end = column(kernels, "ts"), column(kernels, "ts") + column(kernels, "dur")
    communication = merged((ts[talks], end[talks]))
    moved = column(copies, "ts")
    return Activity(
        compute=merged((ts[~talks], end[~talks])),
        communication=communication,
        waiting=_before_the_last(trace, unit),
        copy=merged((moved, moved + column(copies, "dur"))),
    )


def rows_on(trace: Trace, name: str, unit: Unit) -> pd.DataFrame | None:
    """The rows of `kernels`, `copies` or `collectives` on one device, None without the table."""
    frame = table(trace, name)
    if frame is None:
        return None
    own: pd.DataFrame = frame[
        (column(frame, "process") == unit.process) & (column(frame, "device") == unit.device)
    ]
    return own


def _before_the_last(trace: Trace, unit: Unit) -> Spans:
    """When this device was in a collective that its last rank had not reached, and in no other that
    ran.
    """
    own = rows_on(trace, "collectives", unit)
    if own is None or not len(own):
        return merged()
    arrival = column(trace.fact(matched_collectives), "arrival_ns")[own.index.to_numpy()]
    ts, end = column(own, "ts"), column(own, "ts") + column(own, "dur")
    until: Ints = np.where(arrival >= 0, np.clip(arrival, ts, end), ts)
    return subtracted(merged((ts, until)), merged((until, end)))
