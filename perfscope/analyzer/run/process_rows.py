"""The rows of a process in a table or a fact.

The rows of all processes are found at once: a mask for each process would read the whole table for
each, which takes quadratic time in a job of many ranks.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from perfscope.traces.trace import Trace


class RowsByProcess:
    """The rows of a table by process code, in the order of the table and with its index."""

    def __init__(self, frame: pd.DataFrame) -> None:
        codes = frame["process"].to_numpy(np.int64)
        if (codes[1:] < codes[:-1]).any():
            order = np.argsort(codes, kind="stable")
            frame, codes = frame.iloc[order], codes[order]
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
        self.frame = frame
        self.edges = {
            int(codes[begin]): (begin, end) for begin, end in pairwise(edges) if begin < end
        }
        self.known: dict[int, pd.DataFrame] = {}

    def rows(self, process: int) -> pd.DataFrame:
        """Return the rows of one process; none for a process without any."""
        if process not in self.known:
            begin, end = self.edges.get(process, (0, 0))
            self.known[process] = self.frame.iloc[begin:end]
        return self.known[process]


def found_rows(trace: Trace) -> "dict[object, RowsByProcess]":
    """Return the rows by process of the tables and facts that were asked for before."""
    return {}


def table_rows(trace: Trace, name: str, process: int) -> pd.DataFrame | None:
    """Return the rows of one process in a table, None when the table is absent."""
    frame = trace.table(name)
    if frame is None:
        return None
    found = trace.fact(found_rows)
    if name not in found:
        found[name] = RowsByProcess(frame)
    return found[name].rows(process)


def fact_rows(trace: Trace, derive: Callable[[Trace], pd.DataFrame], process: int) -> pd.DataFrame:
    """Return the rows of one process in a fact that is a table."""
    found = trace.fact(found_rows)
    if derive not in found:
        found[derive] = RowsByProcess(trace.fact(derive))
    return found[derive].rows(process)
