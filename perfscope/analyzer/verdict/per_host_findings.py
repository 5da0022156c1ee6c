"""A job on several hosts: findings about a machine's cores, memory or storage are checked on each
host separately.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.diagnosis import Clear, Failed, Finding, NotChecked
from perfscope.analyzer.run.ranks.rank_waiting import rank_waiting
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.span import span
from perfscope.traces.trace import Trace

Outcome = Finding | Clear | NotChecked | Failed
Flags = NDArray[np.bool_]


def host_views(trace: Trace) -> list[Trace]:
    """Return one Trace for each host, in the manifests' order; the trace itself on one host.

    A profiler's trace is not divided. Process codes and times stay those of the job.
    """
    if len(trace.manifests) < 2 or trace.is_profiler_trace:
        return [trace]
    return [view_of_host(trace, number) for number in range(len(trace.manifests))]


def view_of_host(trace: Trace, number: int) -> Trace:
    """Return the rows of one host as a Trace of its own."""
    manifest = trace.manifests[number]
    processes = processes_of_host(trace, manifest)
    kept: dict[str, tuple[pd.DataFrame, Flags]] = {}
    for name in TABLES:
        frame = table(trace, name)
        if frame is not None:
            kept[name] = rows_of_host(frame, name, processes, number, host=manifest.host)
    tables = tables_of_rows(kept)
    return part_of_job(trace, tables, processes, [manifest], span(tables.values()))


def tables_of_rows(kept: dict[str, tuple[pd.DataFrame, Flags]]) -> dict[str, pd.DataFrame]:
    """Return tables with some of their rows; `kept` has each table, and which rows they are."""
    return {
        name: renumbered_rows(frame[is_kept], name, kept)
        for name, (frame, is_kept) in kept.items()
        if is_kept.any()
    }


def part_of_job(
    trace: Trace,
    tables: dict[str, pd.DataFrame],
    processes: Ints,
    manifests: Sequence[Manifest],
    span_ns: tuple[int, int],
) -> Trace:
    """Return the tables of some processes of a job as a Trace."""
    waits = trace.fact(rank_waiting)
    # Waiting compares all ranks, so it is computed on the whole job.
    known: dict[Any, Any] = {
        rank_waiting: waits[waits["process"].isin(processes)].reset_index(drop=True)
    }
    return Trace(
        tables,
        {name: trace.why_absent(name) for name in TABLES if name not in tables},
        manifests,
        kind=trace.kind,
        span_ns=span_ns,
        path=trace.path,
        facts=known,
    )


def processes_of_host(trace: Trace, manifest: Manifest) -> Ints:
    """Return the codes of the processes of one host."""
    processes = table(trace, "processes")
    if processes is None:
        return np.zeros(0, np.int64)
    is_on_host = processes["host"] == manifest.host
    is_same_boot = processes["boot_id"] == manifest.boot_id
    return column(processes, "process")[(is_on_host & is_same_boot).to_numpy(bool)]


def rows_of_host(
    frame: pd.DataFrame, name: str, processes: Ints, number: int, *, host: str
) -> tuple[pd.DataFrame, Flags]:
    """Return the table, and which of its rows belong to the host.

    Counters of the host itself get the code -1, as in a recording of one host.
    """
    if "process" not in frame or name == "device_processes":
        return frame, (frame["host"] == host).to_numpy(bool)
    process = column(frame, "process")
    is_kept: Flags = np.isin(process, processes)
    if name == "counters":
        is_kept |= process == -1 - number
        frame = frame.assign(process=np.where(process < 0, -1, process))
    return frame, is_kept


def renumbered_rows(
    frame: pd.DataFrame, name: str, kept: dict[str, tuple[pd.DataFrame, Flags]]
) -> pd.DataFrame:
    """Return rows of a table with row numbers that fit the rows kept of the other tables."""
    changed = {}
    for (table_name, column_name), other in ROW_NUMBERS.items():
        if table_name == name and other in kept:
            new_numbers = np.append(np.cumsum(kept[other][1]) - 1, -1)
            changed[column_name] = new_numbers[column(frame, column_name)]
    return frame.assign(**changed).reset_index(drop=True)


def together(outcomes: list[tuple[str, Outcome]]) -> Outcome:
    """Return one outcome for the job from those of its hosts (name, outcome).

    It is the most expensive finding, with its host; else a failure; else what was not checked.
    """
    found = [(host, outcome) for host, outcome in outcomes if isinstance(outcome, Finding)]
    if found:
        host, worst = max(found, key=lambda pair: pair[1].lost_s)
        return with_host_name(worst, host, [other for other, _ in found if other != host])
    for host, outcome in outcomes:
        if isinstance(outcome, Failed):
            return Failed(outcome.id, f"{host}: {outcome.error}")
    missing = [(host, outcome) for host, outcome in outcomes if isinstance(outcome, NotChecked)]
    if not missing:
        return outcomes[0][1]
    host, first = missing[0]
    same_reason = len({outcome.reason for _, outcome in missing}) == 1
    if same_reason and len(missing) == len(outcomes):
        return first
    return NotChecked(first.id, f"{host}: {first.reason}", first.group)


def with_host_name(finding: Finding, host: str, others: list[str]) -> Finding:
    """Return the finding with the name of its host, and of the other hosts that have it."""
    also = f" (also on {', '.join(others)})" if others else ""
    return msgspec.structs.replace(finding, headline=f"On {host}{also}: {finding.headline}")
