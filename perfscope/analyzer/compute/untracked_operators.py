"""Operators outside of torch's calls that no gradient depends on: copies, metrics, preparation."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.compute_shares import whole_steps
from perfscope.analyzer.compute.operators_by_phase import phase_of
from perfscope.analyzer.run.table_access import column, table, uses_device
from perfscope.traces.intervals import covered, merged
from perfscope.traces.trace import Trace


def untracked_shares(trace: Trace) -> dict[int, float]:
    """Return, by process, the share of the whole steps in a window that such operators take.

    An operator without an autograd sequence number is not differentiated, nor is one with that of
    the next operator: the number rises where a gradient will be computed.
    """
    ops, windows = table(trace, "ops"), table(trace, "windows")
    if ops is None or windows is None or uses_device(trace) or trace.has_profiled_work:
        return {}
    phase, sequence = phase_of(trace, ops), column(ops, "sequence")
    untracked = (phase == "other") & (column(ops, "parent") < 0)
    untracked &= (sequence < 0) | keeps_sequence(ops)
    found = {}
    for process in np.unique(column(ops, "process")).tolist():
        of_process = windows[(windows["process"] == process) & windows["kept"]]
        begin, end = column(of_process, "begin"), column(of_process, "end")
        if not len(begin):
            continue
        first, last = whole_steps(trace, process, begin, end)
        first, last = (first, last) if len(first) else (begin, end)
        rows = ops[untracked & (column(ops, "process") == process)]
        spans = merged((column(rows, "ts"), column(rows, "ts") + column(rows, "dur")))
        whole = max(int((last - first).sum()), 1)
        found[process] = float(covered(spans, first, last).sum()) / whole
    return found


def keeps_sequence(ops: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which operators are followed by one with the same number, in their thread."""
    kept = np.zeros(len(ops), bool)
    outermost = np.flatnonzero((column(ops, "parent") < 0) & (column(ops, "sequence") >= 0))
    if not len(outermost):
        return kept
    process, tid, ts, number = (
        column(ops, name)[outermost] for name in ("process", "tid", "ts", "sequence")
    )
    order = np.lexsort((ts, tid, process))
    same = np.ones(max(len(order) - 1, 0), bool)
    for values in (process, tid, number):
        same &= values[order][1:] == values[order][:-1]
    kept[outermost[order[:-1][same]]] = True
    return kept
