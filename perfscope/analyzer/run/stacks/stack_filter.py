"""Stack samples of one phase, or of one process, as a trace."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.phases.phase_intervals import PHASES, phase_spans
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import inside
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

NEEDED = ("processes", "stacks")
"""The tables that the charts of stacks are made from."""


def sampled_processes(trace: Trace) -> dict[int, str]:
    """Return the name of each process with stack samples: `rank 0`, `worker 3`, or its file."""
    stacks, processes = table(trace, "stacks"), table(trace, "processes")
    if stacks is None or processes is None:
        return {}
    rows = processes[processes["process"].isin(stacks["process"].unique())]
    several = (rows["role"] == "main").sum() > 1
    return {int(row["process"]): sampled_process_label(row, several) for _, row in rows.iterrows()}


def sampled_process_label(row: "pd.Series[str]", several: bool) -> str:
    """Return the name of a process; `several`: whether the job has several ranks."""
    rank = f"rank {row['rank']}" if several else ""
    if row["role"] == "loader-worker":
        return ", ".join(filter(None, [rank, f"worker {row['worker']}"]))
    return rank or str(row["name"] or "main process")


def sampled_phases_of(trace: Trace) -> list[str]:
    """Return the phases of the first process that have stack samples, in the order of PHASES."""
    stacks, first = table(trace, "stacks"), first_sampled_process(trace)
    if stacks is None or first is None:
        return []
    spans, ts = phase_spans(trace, first).spans, column(stacks, "ts")
    return [phase for phase in PHASES if phase in spans and inside(spans[phase], ts).any()]


def first_sampled_process(trace: Trace) -> int | None:
    """Return the main process of the lowest rank with stack samples, None without one."""
    stacks, processes = table(trace, "stacks"), table(trace, "processes")
    if stacks is None or processes is None:
        return None
    is_sampled = processes["process"].isin(stacks["process"].unique())
    mains = processes[(processes["role"] == "main") & is_sampled]
    return int(mains.sort_values("rank")["process"].iloc[0]) if len(mains) else None


def with_stacks_of(trace: Trace, phase: str | None, process: int | None) -> Trace:
    """Return a trace with the stack samples of a phase and of a process; None is all of them.

    Phases are those of the first process: the loader's workers are shown by what it does.
    """
    stacks, first = table(trace, "stacks"), first_sampled_process(trace)
    if stacks is None or (phase is None and process is None):
        return trace
    kept = np.ones(len(stacks), np.bool_)
    if phase is not None and first is not None:
        spans = phase_spans(trace, first).spans
        if phase in spans:
            kept &= inside(spans[phase], column(stacks, "ts"))
    if process is not None:
        kept &= column(stacks, "process") == process
    tables = {name: frame for name in NEEDED if (frame := table(trace, name)) is not None}
    tables["stacks"] = stacks[kept].reset_index(drop=True)
    absent = {name: "not needed for stacks" for name in TABLES if name not in tables}
    return Trace(
        tables, absent, trace.manifests, kind=trace.kind, span_ns=trace.span_ns, path=trace.path
    )
