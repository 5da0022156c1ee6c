"""The recording of one rank of a job: its processes, on the clock of the job."""

from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.verdict.per_host_findings import Flags, part_of_job, tables_of_rows
from perfscope.traces.intervals import Ints
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

OF_HOST: Final = -1
"""Rows of the host itself have process codes from here down."""
MOST_KEPT: Final = 4
"""Ranks whose traces are kept, with their facts: each takes the memory of a rank."""


def trace_of_rank(trace: Trace, rank: int) -> Trace:
    """Return the rows of a rank's processes, and those of its host, as a Trace; the whole job where
    the rank has no process.
    """
    known = trace.fact(known_rank_traces)
    found = known.get(rank)
    if found is None:
        found = known[rank] = select_rank(trace, rank)
        for oldest in list(known)[:-MOST_KEPT]:
            known.pop(oldest, None)
    return found


def known_rank_traces(trace: Trace) -> dict[int, Trace]:
    """Return the traces of the ranks that were asked for last."""
    return {}


def select_rank(trace: Trace, rank: int) -> Trace:
    """Return what `trace_of_rank` returns, without looking at the kept ones."""
    processes = table(trace, "processes")
    if processes is None or not (processes["rank"] == rank).any():
        return trace
    codes = column(processes[processes["rank"] == rank], "process")
    kept: dict[str, tuple[pd.DataFrame, Flags]] = {}
    for name in TABLES:
        frame = table(trace, name)
        if frame is not None:
            kept[name] = frame, belongs_to_rank(frame, codes)
    return part_of_job(trace, tables_of_rows(kept), codes, trace.manifests, trace.span_ns)


def belongs_to_rank(frame: pd.DataFrame, codes: Ints) -> Flags:
    """Return which rows are of these processes or of a host; all of a table without processes."""
    if "process" not in frame:
        return np.ones(len(frame), np.bool_)
    process = column(frame, "process")
    flags: Flags = np.isin(process, codes) | (process <= OF_HOST)
    return flags
