"""The time in which a device is idle because the host waited for a copy before it launched more."""

import re
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import case_of, op_names
from perfscope.analyzer.categories import SYNC_WAIT
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Spans, length_ns, subtracted
from perfscope.traces.trace import Trace

READS_NUMBER: Final = re.compile(r"aten::(item|_local_scalar_dense|is_nonzero|equal)")


def idle_share_after_copies(
    trace: Trace, limits: Limits, copies: pd.DataFrame, counted: Spans
) -> float:
    """Return the share of the time, 0 to 1, in which the device is idle in or after waits in the
    operators that made these copies. Without the waits this time is saved, too.

    What is in `counted` is left out, and operators that return a Python number: their copy of some
    bytes is not what the host waits for.
    """
    calls = table(trace, "launches")
    case, launch = case_of(trace, limits, SYNC_WAIT), column(copies, "launch")
    waits = case.of(SYNC_WAIT)
    waits = waits[column(waits, "call") >= 0]
    if calls is None or not len(waits):
        return 0.0
    operator = column(calls, "op")
    launch = launch[launch >= 0]
    names = op_names(trace, launch, outermost=False).astype(object)
    reads = [isinstance(name, str) and READS_NUMBER.search(name) is not None for name in names]
    of_copies = operator[launch[~np.array(reads, bool)]]
    is_after = np.isin(operator[column(waits, "call")], of_copies[of_copies >= 0])
    return length_ns(subtracted(spans_of(waits[is_after]), counted)) / case.span_ns
