"""Host and device time by operator; device time is that of the work which it, or an operator inside
it, launched.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.launch_origin import forward_ops, work_origin
from perfscope.analyzer.run.budget_units import rank_by_process
from perfscope.analyzer.run.call_tree import COLUMNS, sums_by_name
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace


def operator_table(trace: Trace) -> pd.DataFrame:
    """Return one row per process and operator; of a rank most device time first, then host time.

    Columns: rank, process, name, parent (the operator around its longest call, "" for none), count,
    host_ns, host_self_ns (outside operators that it calls), device_ns (kernels and copies that it
    and those inside it launched), device_self_ns (it alone), backward_device_ns (what its backward
    launched), kernels (kernels and copies launched), longest_ts (where its longest call starts). An
    operator inside another of the same name counts in `count` and the self times only.
    """
    ops = table(trace, "ops")
    if ops is None or not len(ops):
        return pd.DataFrame(columns=["rank", *COLUMNS])
    origin = trace.fact(work_origin)
    known = origin.op >= 0
    behind = np.full(len(origin.op), -1, np.int64)
    behind[known] = trace.fact(forward_ops)[origin.op[known]]
    found = sums_by_name(ops, column(ops, "parent"), origin.op, behind, origin.dur)
    ranks = rank_by_process(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    order = ["rank", "device_ns", "host_ns"]
    return found.sort_values(order, ascending=[True, False, False], ignore_index=True)
