"""The training (or serving) processes of the job on this host, which of them ran at the same time,
and its loader workers.
"""

import numpy as np

from perfscope.analyzer.run.steps import trainers
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.trace import Trace

Span = tuple[float, float]
ALL_ALONG: Span = (-np.inf, np.inf)


def main_processes(trace: Trace) -> list[tuple[int, int]]:
    """(process, rank) of each: those the probe saw working, else those that the recorder called
    main.
    """
    return trainers(trace) or called_main(trace)


def called_main(trace: Trace) -> list[tuple[int, int]]:
    """(process, rank) of those that the recorder called main, whether they were seen working or
    not.
    """
    processes = table(trace, "processes")
    if processes is None:
        return []
    mains = processes[processes["role"] == "main"]
    return [(int(p), max(int(r), 0)) for p, r in zip(mains["process"], mains["rank"], strict=True)]


def ranks_at_once(trace: Trace) -> int:
    """How many of the main processes worked at the same time at most: what a script starts one
    after the other shares no core.
    """
    return _at_once(trace, main_processes(trace))


def mains_at_once(trace: Trace) -> int:
    """The same of those that the recorder called main."""
    return _at_once(trace, called_main(trace))


def together(trace: Trace) -> list[list[int]]:
    """The main processes in groups of those that worked at the same time, each with one of its
    group at least, the earliest first: only they can be ranks of one job.
    """
    spans = sorted((worked(trace, process), process) for process, _ in main_processes(trace))
    groups: list[list[int]] = []
    reach = -np.inf
    for (begin, end), process in spans:
        if begin >= reach:
            groups.append([])
        groups[-1].append(process)
        reach = max(reach, end)
    return groups


def mates(trace: Trace, process: int) -> list[int]:
    """The group of one of them, itself in it."""
    return next((group for group in trace.fact(together) if process in group), [process])


def worked(trace: Trace, process: int) -> Span:
    """(begin, end) ns of a process's loader waits and torch calls; without any, of the readings of
    it; else all along.
    """
    for names in (("loader", "ranges"), ("counters",)):
        rows = [rows_of(trace, name, process) for name in names]
        begin = np.concatenate([column(one, "ts") for one in rows])
        if len(begin):
            dur = [
                column(one, "dur") if one is not None and "dur" in one else 0 * column(one, "ts")
                for one in rows
            ]
            return float(begin.min()), float((begin + np.concatenate(dur)).max()) + 1.0
    return ALL_ALONG


def loader_workers(trace: Trace) -> list[int]:
    """Process codes of those that the recorder called loader workers."""
    processes = table(trace, "processes")
    return (
        []
        if processes is None
        else processes.loc[processes["role"] == "loader-worker", "process"].tolist()
    )


def _at_once(trace: Trace, mains: list[tuple[int, int]]) -> int:
    spans = [worked(trace, process) for process, _ in mains]
    return max((sum(begin <= at < end for begin, end in spans) for at, _ in spans), default=0)
