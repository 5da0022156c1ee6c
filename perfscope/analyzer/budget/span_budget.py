"""The time of each rank of a recorded trace, from its first event to its last, by category; and of
any windows of it.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import CODES, segments
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.units import Unit
from perfscope.traces.intervals import Ints, covered, merged
from perfscope.traces.trace import Trace


def span_budget(trace: Trace) -> pd.DataFrame:
    """One row a rank: process, device, rank, then nanoseconds (int64) of each category, which sum
    to its span.
    """
    pieces = trace.fact(segments)
    keys = ["rank", "process", "device"]
    sums = pieces.groupby([*keys, "category"], observed=True)["dur"].sum().unstack(fill_value=0)
    sums.columns = pd.Index([str(name) for name in sums.columns])
    return sums.reindex(columns=list(CATEGORY_IDS), fill_value=0).astype("int64").reset_index()


def in_windows(trace: Trace, unit: Unit, begin: Ints, end: Ints) -> dict[str, Ints]:
    """Nanoseconds of each category in each window [begin, end) of one unit; zero outside its
    span.
    """
    pieces = trace.fact(segments)
    own = pieces[
        (column(pieces, "process") == unit.process) & (column(pieces, "device") == unit.device)
    ]
    ts, dur = column(own, "ts"), column(own, "dur")
    code = own["category"].cat.codes.to_numpy()
    found = {}
    for name in CATEGORY_IDS:
        mine = code == CODES[name]
        found[name] = covered(merged((ts[mine], ts[mine] + dur[mine])), begin, end)
    return {name: np.asarray(amount, np.int64) for name, amount in found.items()}
