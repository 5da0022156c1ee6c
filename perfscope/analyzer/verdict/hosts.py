"""A job on several hosts, host by host: what is said of a machine's cores, memory or storage is
said of one of them.
"""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.diagnosis import Clear, Failed, Finding, NotChecked
from perfscope.analyzer.run.rank_waiting import rank_waiting
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.schema import ROW_NUMBERS, TABLES
from perfscope.traces.span import span
from perfscope.traces.trace import Trace

Outcome = Finding | Clear | NotChecked | Failed


def host_views(trace: Trace) -> list[Trace]:
    """The trace itself where there is one host (or no recording of ours); else one Trace for each
    host, in the manifests' order.

    Process codes and times stay those of the job.
    """
    if len(trace.manifests) < 2 or trace.is_profiler_trace:
        return [trace]
    return [_of_host(trace, number) for number in range(len(trace.manifests))]


def _of_host(trace: Trace, number: int) -> Trace:
    manifest = trace.manifests[number]
    processes = table(trace, "processes")
    mine = np.zeros(0, np.int64)
    if processes is not None:
        own = (processes["host"] == manifest.host) & (processes["boot_id"] == manifest.boot_id)
        mine = column(processes, "process")[own.to_numpy(bool)]
    kept = {
        name: _rows(frame, name, mine, number, manifest.host)
        for name in TABLES
        if (frame := table(trace, name)) is not None
    }
    tables = {
        name: _renumbered(frame[rows], name, kept)
        for name, (frame, rows) in kept.items()
        if rows.any()
    }
    absent = {name: trace.why_absent(name) for name in TABLES if name not in tables}
    waits = trace.fact(rank_waiting)
    known: dict[Any, Any] = {
        rank_waiting: waits[waits["process"].isin(mine)].reset_index(drop=True)
    }
    return Trace(
        tables,
        absent,
        [manifest],
        kind=trace.kind,
        span_ns=span(tables.values()),
        path=trace.path,
        facts=known,
    )


def _rows(
    frame: pd.DataFrame, name: str, mine: "NDArray[np.int64]", number: int, host: str
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """The table, and which of its rows are of the host."""
    if "process" not in frame or name == "device_processes":
        return frame, (frame["host"] == host).to_numpy(bool)
    process = column(frame, "process")
    rows = np.isin(process, mine)
    if name == "counters":
        rows |= process == -1 - number
        frame = frame.assign(process=np.where(process < 0, -1, process))
    return frame, rows


def _renumbered(
    frame: pd.DataFrame, name: str, kept: dict[str, tuple[pd.DataFrame, NDArray[np.bool_]]]
) -> pd.DataFrame:
    """Row numbers of other tables, after the rows of the other hosts are gone."""
    changed = {}
    for (of, name_of_column), other in ROW_NUMBERS.items():
        if of == name and other in kept:
            place = np.append(np.cumsum(kept[other][1]) - 1, -1)
            changed[name_of_column] = place[column(frame, name_of_column)]
    return frame.assign(**changed).reset_index(drop=True)


def together(outcomes: list[tuple[str, Outcome]]) -> Outcome:
    """One outcome of those of the hosts (name, outcome): the dearest finding, with its host; else
    what was not looked for.
    """
    found = [(host, one) for host, one in outcomes if isinstance(one, Finding)]
    if found:
        host, worst = max(found, key=lambda pair: pair[1].lost_s)
        return on_host(worst, host, [other for other, _ in found if other != host])
    for host, one in outcomes:
        if isinstance(one, Failed):
            return Failed(one.id, f"{host}: {one.error}")
    missing = [(host, one) for host, one in outcomes if isinstance(one, NotChecked)]
    if not missing:
        return outcomes[0][1]
    (host, first), reasons = missing[0], {one.reason for _, one in missing}
    alike = len(missing) == len(outcomes) and len(reasons) == 1
    return first if alike else NotChecked(first.id, f"{host}: {first.reason}")


def on_host(finding: Finding, host: str, others: list[str]) -> Finding:
    """The finding with the name of its host, and of those that have it too."""
    too = f" (also on {', '.join(others)})" if others else ""
    return msgspec.structs.replace(finding, headline=f"On {host}{too}: {finding.headline}")
