"""The recording of one rank of a job: its processes, on the clock of the job."""

from typing import Any

import numpy as np

from perfscope.analyzer.run.ranks.rank_waiting import rank_waiting
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.verdict.hosts import with_row_numbers_of_host
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

WHOLE = -1
"""Rows of the host itself have process codes from here down."""


def trace_of_rank(trace: Trace, rank: int) -> Trace:
    """Return the rows of a rank's processes, and those of its host, as a Trace of its own."""
    known = trace.fact(known_rank_traces)
    if rank not in known:
        known[rank] = select_rank(trace, rank)
    return known[rank]


def known_rank_traces(trace: Trace) -> dict[int, Trace]:
    """Return the traces of the ranks that were asked for before."""
    return {}


def select_rank(trace: Trace, rank: int) -> Trace:
    """Return the `trace_of_rank` without the cache; the job where the rank has no process."""
    processes = table(trace, "processes")
    if processes is None or not (processes["rank"] == rank).any():
        return trace
    codes = column(processes[processes["rank"] == rank], "process")
    kept = {}
    for name in TABLES:
        frame = table(trace, name)
        if frame is not None:
            kept[name] = (frame, np.ones(len(frame), np.bool_))
            if "process" in frame:
                process = column(frame, "process")
                kept[name] = (frame, np.isin(process, codes) | (process <= WHOLE))
    tables = {
        name: with_row_numbers_of_host(frame[is_kept], name, kept)
        for name, (frame, is_kept) in kept.items()
        if is_kept.any()
    }
    absent = {name: trace.why_absent(name) for name in TABLES if name not in tables}
    waits = trace.fact(rank_waiting)
    facts: dict[Any, Any] = {
        rank_waiting: waits[waits["process"].isin(codes)].reset_index(drop=True)
    }
    return Trace(
        tables,
        absent,
        trace.manifests,
        kind=trace.kind,
        span_ns=trace.span_ns,
        path=trace.path,
        facts=facts,
    )
