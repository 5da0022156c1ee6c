"""The period of a sequence of kernels or operators, to find steps that nothing marks.

The layers of one pass repeat as regularly as steps do. So a period counts only if each repetition
contains what a program does once in a step and not in a layer: the optimizer's update, or a result
that the host reads.
"""

import re

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

FEWEST_TIMES = 4
"""Three distances are the fewest whose agreement is not chance."""
IRREGULAR = 0.02
"""A step runs the same program again: distances between two calls of one kernel, counted in
kernels, differ by at most this share (an occasional branch).
"""
COVERS = 0.5
"""The share of the sequence that the calls of that kernel span at least."""
SHORTEST = 2
ONCE_IN_A_STEP = re.compile(
    r"multi_tensor_apply|adam|\bsgd|lamb_|^aten::(item|_local_scalar_dense)$", re.I
)
"""Kernels and operators that update parameters, or read a result."""


def period_starts(trace: Trace, unit: Unit) -> tuple[Ints, str]:
    """Return the instants (ns) at which the sequence repeats, and which sequence that is.

    `kernel sequence` or `operator sequence`; no instants without a period.
    """
    if unit.device == NO_DEVICE:
        frame, sequence = table(trace, "ops"), "operator sequence"
        if frame is not None:
            of_process = column(frame, "process") == unit.process
            frame = frame[of_process & (column(frame, "parent") < 0)]
    else:
        frame, sequence = rows_on(trace, "kernels", unit), "kernel sequence"
    if frame is None or not len(frame):
        return np.empty(0, np.int64), sequence
    frame = frame.sort_values("ts", kind="stable")
    starts = column(frame, "ts")[anchors(np.asarray(frame["name"].cat.codes, np.int64))]
    are_steps = occurs_in_each(starts, once_in_a_step_ns(trace, unit, frame))
    return starts if are_steps else starts[:0], sequence


def once_in_a_step_ns(trace: Trace, unit: Unit, work: pd.DataFrame) -> Ints:
    """Return when parameters were updated or a result was read, in ns, in no order."""
    names = work["name"].cat
    wanted = [bool(ONCE_IN_A_STEP.search(name)) for name in names.categories]
    # The code -1 of a missing name takes the value added at the end.
    found: Ints = column(work, "ts")[np.array([*wanted, False])[names.codes.to_numpy()]]
    copies = None if unit.device == NO_DEVICE else rows_on(trace, "copies", unit)
    if copies is None:
        return found
    read = (copies["direction"] == "d2h").to_numpy(bool)
    return np.concatenate((found, column(copies, "ts")[read]))


def occurs_in_each(starts: Ints, instants_ns: Ints) -> bool:
    """Return whether each interval from one start to the next contains one of the instants."""
    counts = np.diff(np.searchsorted(np.sort(instants_ns), starts))
    return bool(counts.all())


def anchors(codes: Ints) -> Ints:
    """Return the positions of the name that repeats regularly at the longest distance.

    Empty when none does.
    """
    order = np.argsort(codes, kind="stable")
    bounds = np.flatnonzero(np.diff(codes[order])) + 1
    best, longest = np.empty(0, np.int64), 0.0
    for positions in np.split(order, bounds):
        if len(positions) < FEWEST_TIMES or positions[-1] - positions[0] < COVERS * len(codes):
            continue
        distance = np.diff(positions)
        usual = float(np.median(distance))
        regular = np.ptp(distance) <= max(IRREGULAR * usual, 0.0)
        if regular and usual >= SHORTEST and usual > longest:
            best, longest = positions, usual
    return best
