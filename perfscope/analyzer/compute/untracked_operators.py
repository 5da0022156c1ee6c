"""Operators outside of torch's calls that no gradient depends on: copies, metrics, preparation."""

import numpy as np

from perfscope.analyzer.budget.compute_shares import whole_steps
from perfscope.analyzer.compute.operators_by_phase import phase_of
from perfscope.analyzer.run.table_access import column, table, uses_device
from perfscope.traces.intervals import covered, merged
from perfscope.traces.trace import Trace


def untracked_shares(trace: Trace) -> dict[int, float]:
    """Return, by process, the share of the whole steps in a window that such operators take.

    An operator without an autograd sequence number is not differentiated.
    """
    ops, windows = table(trace, "ops"), table(trace, "windows")
    if ops is None or windows is None or uses_device(trace) or trace.has_profiled_work:
        return {}
    phase, sequence = phase_of(trace, ops), column(ops, "sequence")
    untracked = (phase == "other") & (sequence < 0) & (column(ops, "parent") < 0)
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
