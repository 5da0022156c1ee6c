"""Access to the tables of a trace: a whole table, rows of a process or category, the manifest."""

from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.run.process_rows import table_rows
from perfscope.traces.intervals import Ints
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.trace import Trace


def manifest(trace: Trace) -> Manifest:
    """Return the manifest of the trace's first part.

    An empty one where a trace has none (made by hand, a file of another tool).
    """
    return trace.manifests[0] if trace.manifests else Manifest("", "", "", 0, 0, "", [], 0, "")


def uses_device(trace: Trace) -> bool:
    """Return whether the recorded program has begun to use an accelerator through torch."""
    torch = manifest(trace).torch
    return torch is not None and (torch.cuda or bool(torch.accelerator))


def table(trace: Trace, name: str) -> pd.DataFrame | None:
    """Return a table, None when it is absent."""
    return trace.table(name) if trace.has(name) else None


def rows_of(trace: Trace, name: str, process: int) -> pd.DataFrame | None:
    """Return the rows of one process sorted by time, None when the table is absent."""
    rows = table_rows(trace, name, process)
    return None if rows is None else in_order_of_time(rows)


def in_order_of_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows sorted by `ts`; most are already."""
    ts = rows["ts"].to_numpy(np.int64)
    return rows if (ts[1:] >= ts[:-1]).all() else rows.sort_values("ts", kind="stable")


def column(frame: pd.DataFrame | None, name: str) -> Ints:
    """Return one int64 column, empty when there is no table."""
    return np.empty(0, np.int64) if frame is None else frame[name].to_numpy(np.int64)


def rows_of_category(ranges: pd.DataFrame | None, *categories: str) -> pd.DataFrame | None:
    """Return the rows of these categories."""
    return None if ranges is None else rows_with_name(ranges, "category", *categories)


def rows_with_name(rows: pd.DataFrame, name: str, *wanted: str) -> pd.DataFrame:
    """Return the rows that have one of these names in a column of names."""
    column_of_names = rows[name].array
    if not isinstance(column_of_names, pd.Categorical):
        return rows[rows[name].isin(wanted)]
    names = column_of_names.categories.tolist()
    is_wanted = np.array([*(text in wanted for text in names), False])
    mask = is_wanted[column_of_names.codes]
    if mask.all():
        return rows
    return rows[mask] if mask.any() else rows.iloc[:0]


def pair(keys: Any) -> tuple[int, int]:
    """Return the key of a group over two int64 columns."""
    first, second = keys
    return int(first), int(second)


def longest_row(rows: pd.DataFrame) -> "pd.Series[int]":
    """Return the row with the largest `dur`; there must be one."""
    return rows.iloc[int(np.argmax(rows["dur"].to_numpy()))]


def recording_of(trace: Trace) -> Trace | None:
    """Return the recording that a trace is the device window of, None for any other trace."""
    return None
