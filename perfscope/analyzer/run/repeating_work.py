"""The period of a sequence of kernels or operators: where nothing marks the steps, what runs tells
them.
"""

import numpy as np

from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

# Three distances are the fewest that can agree and not by chance of two.
FEWEST_TIMES = 4
# A step runs the same program again: distances between two calls of one kernel, counted in kernels,
# differ by no more than this share (a branch now and then), and its calls span at least COVERS of
# the sequence.
IRREGULAR = 0.02
COVERS = 0.5
SHORTEST = 2


def period_starts(trace: Trace, unit: Unit) -> tuple[Ints, str]:
    """(instants in ns at which the sequence begins anew, `kernel sequence` or `operator sequence`);
    empty without a period.
    """
    if unit.device == NO_DEVICE:
        ops = table(trace, "ops")
        frame = (
            None
            if ops is None
            else ops[(column(ops, "process") == unit.process) & (column(ops, "parent") < 0)]
        )
        what = "operator sequence"
    else:
        frame, what = rows_on(trace, "kernels", unit), "kernel sequence"
    if frame is None or not len(frame):
        return np.empty(0, np.int64), what
    frame = frame.sort_values("ts", kind="stable")
    at = anchors(frame["name"].cat.codes.to_numpy(np.int64))
    return column(frame, "ts")[at], what


def anchors(codes: Ints) -> Ints:
    """Positions of the name that comes back most regularly at the longest distance; empty when none
    does.
    """
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    best, longest = np.empty(0, np.int64), 0.0
    for positions in np.split(order, bounds):
        if len(positions) < FEWEST_TIMES or positions[-1] - positions[0] < COVERS * len(codes):
            continue
        distance = np.diff(positions)
        usual = float(np.median(distance))
        if (
            usual >= SHORTEST
            and usual > longest
            and np.ptp(distance) <= max(IRREGULAR * usual, 0.0)
        ):
            best, longest = positions, usual
    return best
