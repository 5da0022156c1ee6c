"""A part of a Trace: what began within an interval, as a Trace of its own."""

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.trace import Trace


def part_of(trace: Trace, begin_ns: int, end_ns: int) -> Trace:
    """The rows that begin in [begin_ns, end_ns) of the job's time; what has no time (processes,
    devices) stays whole.
    """
    whole = {name: table for name in TABLES if (table := trace.table(name)) is not None}
    kept = {name: rows_within(table, begin_ns, end_ns) for name, table in whole.items()}
    parts = {
        name: renumbered(name, table.iloc[kept[name]], whole, kept) for name, table in whole.items()
    }
    absent = {name: trace.why_absent(name) for name in TABLES if name not in whole}
    absent |= {
        name: "nothing of it began in this region"
        for name, table in parts.items()
        if not len(table)
    }
    return Trace(
        {name: table for name, table in parts.items() if len(table)},
        absent,
        trace.manifests,
        span_ns=(begin_ns, end_ns),
        torn=trace.torn,
        clock_residual_ns=trace.clock_residual_ns,
        path=trace.path,
    )


def rows_within(table: pd.DataFrame, begin_ns: int, end_ns: int) -> Ints:
    """Positions of the rows that begin in the interval."""
    if "ts" not in table:
        return np.arange(len(table))
    ts = table["ts"].to_numpy(np.int64)
    return np.flatnonzero((ts >= begin_ns) & (ts < end_ns))


def renumbered(
    name: str, part: pd.DataFrame, whole: dict[str, pd.DataFrame], kept: dict[str, Ints]
) -> pd.DataFrame:
    """Its columns of row numbers refer to the rows that are left; -1 where that row is not."""
    part = part.reset_index(drop=True)
    for (table, column), of in ROW_NUMBERS.items():
        if table == name:
            old = part[column].to_numpy(np.int64)
            place = np.full(len(whole.get(of, ())) + 1, -1, np.int64)  # the last for -1
            place[kept.get(of, np.empty(0, np.int64))] = np.arange(len(kept.get(of, ())))
            part = part.assign(**{column: place[old]})
    return part
