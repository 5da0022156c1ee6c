"""The rows of a process in a table or a fact.

The rows of all processes are found at once: a mask for each process would read the whole table for
each, which takes quadratic time in a job of many ranks.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from perfscope.traces.trace import Trace


class RowsByCode:
    """The rows of a table by process or device, in the order of the table and with its index."""

    def __init__(self, frame: pd.DataFrame, column: str = "process") -> None:
        codes = frame[column].to_numpy(np.int64)
        if (codes[1:] < codes[:-1]).any():
            order = np.argsort(codes, kind="stable")
            frame, codes = frame.iloc[order], codes[order]
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        self.frame = frame
        self.edges = {
            int(codes[begin]): (begin, end) for begin, end in pairwise(edges) if begin < end
        }
        self.known: dict[int, pd.DataFrame] = {}

    def rows(self, code: int) -> pd.DataFrame:
        """Return the rows of one process or device; none for one without any."""
        if code not in self.known:
            begin, end = self.edges.get(code, (0, 0))
            self.known[code] = self.frame.iloc[begin:end]
        return self.known[code]


def found_rows(trace: Trace) -> "dict[object, RowsByCode]":
    """Return the rows by process of the tables and facts that were asked for before."""
    return {}


def table_rows(trace: Trace, name: str, process: int) -> pd.DataFrame | None:
    """Return the rows of one process in a table, None when the table is absent."""
    found = rows_by_process(trace, name)
    return None if found is None else found.rows(process)


def rows_by_process(trace: Trace, name: str) -> RowsByCode | None:
    """Return the rows of a table by process, None when the table is absent."""
    frame = trace.table(name)
    if frame is None:
        return None
    found = trace.fact(found_rows)
    if name not in found:
        found[name] = RowsByCode(frame)
    return found[name]


def table_rows_on(trace: Trace, name: str, process: int, device: int) -> pd.DataFrame | None:
    """Return the rows of one device of a process in a table, None when the table is absent."""
    of_process = table_rows(trace, name, process)
    if of_process is None:
        return None
    found = trace.fact(found_rows)
    if (name, process) not in found:
        found[name, process] = RowsByCode(of_process, "device")
    return found[name, process].rows(device)


def fact_rows(trace: Trace, derive: Callable[[Trace], pd.DataFrame], process: int) -> pd.DataFrame:
    """Return the rows of one process in a fact that is a table."""
    found = trace.fact(found_rows)
    if derive not in found:
        found[derive] = RowsByCode(trace.fact(derive))
    return found[derive].rows(process)
