"""The main processes of the job on this host, which of them ran together, and loader workers."""

import numpy as np

from perfscope.analyzer.run.loops.steps import trainers
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.trace import Trace

Span = tuple[float, float]
ALL_ALONG: Span = (-np.inf, np.inf)


def main_processes(trace: Trace) -> list[tuple[int, int]]:
    """Return process and rank of those that train or serve.

    Without any that the probe saw at work, of those with the role `main`.
    """
    return trainers(trace) or processes_with_main_role(trace)


def processes_with_main_role(trace: Trace) -> list[tuple[int, int]]:
    """Return process and rank of those with the role `main`, also where they were not at work."""
    processes = table(trace, "processes")
    if processes is None:
        return []
    mains = processes[processes["role"] == "main"]
    return [(int(p), max(int(r), 0)) for p, r in zip(mains["process"], mains["rank"], strict=True)]


def ranks_at_once(trace: Trace) -> int:
    """Return how many of the main processes worked at the same time at most.

    Processes that a script starts one after the other share no core.
    """
    return most_at_once(trace, main_processes(trace))


def mains_at_once(trace: Trace) -> int:
    """Return how many processes with the role `main` worked at the same time at most."""
    return most_at_once(trace, processes_with_main_role(trace))


def concurrent_groups(trace: Trace) -> list[list[int]]:
    """Return the main processes in groups, the earliest first.

    Each worked at the same time as another of its group: only these can be ranks of one job.
    """
    spans = sorted((working_span(trace, process), process) for process, _ in main_processes(trace))
    groups: list[list[int]] = []
    reach = -np.inf
    for (begin, end), process in spans:
        if begin >= reach:
            groups.append([])
        groups[-1].append(process)
        reach = max(reach, end)
    return groups


def concurrent_processes(trace: Trace, process: int) -> list[int]:
    """Return the processes that worked at the same time as a main process, including itself."""
    return trace.fact(concurrent_group_by_process).get(process, [process])


def concurrent_group_by_process(trace: Trace) -> dict[int, list[int]]:
    """Return the concurrent group of each main process."""
    return {process: group for group in trace.fact(concurrent_groups) for process in group}


def working_span(trace: Trace, process: int) -> Span:
    """Return begin and end (ns) of a process's loader waits, torch calls, and waits in a job that
    does not move.

    Without any, of its readings; else an unbounded interval.
    """
    for names in (("loader", "ranges", "waits"), ("counters",)):
        begins, ends = [], []
        for name in names:
            rows = rows_of(trace, name, process)
            ts = column(rows, "ts")
            if rows is not None and len(ts):
                begins.append(int(ts.min()))
                ends.append(int((ts + column(rows, "dur")).max() if "dur" in rows else ts.max()))
        if begins:
            return float(min(begins)), float(max(ends)) + 1.0
    return ALL_ALONG


def loader_workers(trace: Trace) -> list[int]:
    """Return the process codes of loader workers."""
    processes = table(trace, "processes")
    if processes is None:
        return []
    codes: list[int] = processes.loc[processes["role"] == "loader-worker", "process"].tolist()
    return codes


def most_at_once(trace: Trace, mains: list[tuple[int, int]]) -> int:
    """Return how many of these processes worked at the same time at most."""
    spans = [working_span(trace, process) for process, _ in mains]
    counts = [sum(begin <= instant < end for begin, end in spans) for instant, _ in spans]
    return max(counts, default=0)
