"""What facts read: a table or nothing, its rows of one process or category, the manifest and what
it says of a device.
"""

from typing import Any

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.trace import Trace


def manifest(trace: Trace) -> Manifest:
    """The manifest of the trace's first part; an empty one where a trace has none (made by hand, a
    foreign file).
    """
    return trace.manifests[0] if trace.manifests else Manifest("", "", "", 0, 0, "", [], 0, "")


def uses_device(trace: Trace) -> bool:
    """Has the recorded program begun to use a device of torch's, as it said itself?"""
    torch = manifest(trace).torch
    return torch is not None and torch.cuda


def table(trace: Trace, name: str) -> pd.DataFrame | None:
    """A table, None when it is absent."""
    return trace.table(name) if trace.has(name) else None


def rows_of(trace: Trace, name: str, process: int) -> pd.DataFrame | None:
    """The rows of one process sorted by time, None when the table is absent."""
    frame = table(trace, name)
    return (
        None
        if frame is None
        else frame[frame["process"] == process].sort_values("ts", kind="stable")
    )


def column(frame: pd.DataFrame | None, name: str) -> Ints:
    """One int64 column, empty when there is no table."""
    return np.empty(0, np.int64) if frame is None else frame[name].to_numpy(np.int64)


def of_category(ranges: pd.DataFrame | None, *categories: str) -> pd.DataFrame | None:
    """The rows of these categories."""
    return None if ranges is None else ranges[ranges["category"].isin(categories)]


def pair(keys: Any) -> tuple[int, int]:
    """The key of a group over two int64 columns."""
    first, second = keys
    return int(first), int(second)


def longest(rows: pd.DataFrame) -> "pd.Series[int]":
    """The row with the largest `dur`; there must be one."""
    return rows.iloc[int(np.argmax(rows["dur"].to_numpy()))]
