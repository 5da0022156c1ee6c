"""The time of each rank of a profiler's trace by category, in all or in given intervals."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import CODES, segments, whole_segments
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.accelerators.device_activity import rows_of_device
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.units import Unit
from perfscope.traces.intervals import Ints, covered, merged
from perfscope.traces.trace import Trace


def span_budget(trace: Trace) -> pd.DataFrame:
    """Return the time of each rank by category, where the work of its device is known.

    One row per rank: process, device, rank, then nanoseconds (int64) of each category, which sum to
    its `observed_time`.
    """
    pieces = trace.fact(segments)
    keys = ["rank", "process", "device"]
    sums = pieces.groupby([*keys, "category"], observed=True)["dur"].sum().unstack(fill_value=0)
    sums.columns = pd.Index([str(name) for name in sums.columns])
    return sums.reindex(columns=list(CATEGORY_IDS), fill_value=0).astype("int64").reset_index()


def category_times(trace: Trace, unit: Unit, begin: Ints, end: Ints) -> dict[str, Ints]:
    """Return the ns of each category in each interval [begin, end) of one unit.

    They are zero outside its span.
    """
    pieces = fact_rows(trace, whole_segments, unit.process)
    return amounts_in(rows_of_device(pieces, unit.device), begin, end)


def amounts_in(pieces: pd.DataFrame, begin: Ints, end: Ints) -> dict[str, Ints]:
    """Return the ns that the pieces of each category of one unit have in each interval."""
    ts, dur = column(pieces, "ts"), column(pieces, "dur")
    code = pieces["category"].cat.codes.to_numpy()
    amounts = {}
    for name in CATEGORY_IDS:
        is_category = code == CODES[name]
        spans = merged((ts[is_category], (ts + dur)[is_category]))
        amounts[name] = np.asarray(covered(spans, begin, end), np.int64)
    return amounts
