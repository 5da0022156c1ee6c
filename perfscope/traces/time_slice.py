"""A slice of a Trace in time: the rows that begin within an interval, as a Trace."""

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.trace import Trace


def time_slice(trace: Trace, begin_ns: int, end_ns: int) -> Trace:
    """Return the rows that begin in [begin_ns, end_ns) of job time. Tables without a time, such as
    processes and devices, stay complete.
    """
    tables = {name: table for name in TABLES if (table := trace.table(name)) is not None}
    kept_rows = {name: rows_within(table, begin_ns, end_ns) for name, table in tables.items()}
    absent = {name: trace.why_absent(name) for name in TABLES if name not in tables}
    sliced = {}
    for name, table in tables.items():
        part = with_new_row_numbers(name, table.iloc[kept_rows[name]], tables, kept_rows)
        if len(part):
            sliced[name] = part
        else:
            absent[name] = "none of its rows begins in this part of the run"
    return Trace(
        sliced,
        absent,
        trace.manifests,
        kind=trace.kind,
        span_ns=(begin_ns, end_ns),
        damaged_records=trace.damaged_records,
        clock_residual_ns=trace.clock_residual_ns,
        path=trace.path,
    )


def rows_within(table: pd.DataFrame, begin_ns: int, end_ns: int) -> Ints:
    """Return the positions of the rows that begin in the interval; all of a table without times."""
    if "ts" not in table:
        return np.arange(len(table))
    ts = table["ts"].to_numpy(np.int64)
    return np.flatnonzero((ts >= begin_ns) & (ts < end_ns))


def with_new_row_numbers(
    name: str, part: pd.DataFrame, whole: dict[str, pd.DataFrame], kept_rows: dict[str, Ints]
) -> pd.DataFrame:
    """Return a part of a table, with row numbers that refer to the rows that were kept; -1 where
    the row was not kept.
    """
    part = part.reset_index(drop=True)
    for (table, column), target in ROW_NUMBERS.items():
        if table != name:
            continue
        kept = kept_rows.get(target, np.empty(0, np.int64))
        new_number = np.full(len(whole.get(target, ())) + 1, -1, np.int64)  # the last is that of -1
        new_number[kept] = np.arange(len(kept))
        old_number = part[column].to_numpy(np.int64)
        part = part.assign(**{column: new_number[old_number]})
    return part
