"""The training (or serving) processes of the job on this host, and its loader workers."""

import numpy as np

from perfscope.analyzer.facts.rows import column, rows_of, table
from perfscope.analyzer.facts.steps import trainers
from perfscope.traces.trace import Trace


def main_processes(trace: Trace) -> list[tuple[int, int]]:
    """(process, rank) of each: those the probe saw working, else those that the recorder called main."""
    seen = trainers(trace)
    processes = table(trace, "processes")
    if seen or processes is None:
        return seen
    mains = processes[processes["role"] == "main"]
    return [(int(p), max(int(r), 0)) for p, r in zip(mains["process"], mains["rank"], strict=True)]


def ranks_at_once(trace: Trace) -> int:
    """How many of them worked at the same time at most: what a script starts one after the other shares no core.

    Each works from the first call that the probe saw in it to the end of the last; one in which it saw none counts all along.
    """
    mains = main_processes(trace)
    spans = [span for process, _ in mains if (span := _worked(trace, process)) is not None]
    together = max((sum(begin <= at < end for begin, end in spans) for at, _ in spans), default=0)
    return together + len(mains) - len(spans)


def _worked(trace: Trace, process: int) -> tuple[int, int] | None:
    """(begin, end) ns of a process's loader waits and torch calls, None without any."""
    rows = [rows_of(trace, name, process) for name in ("loader", "ranges")]
    begin = np.concatenate([column(one, "ts") for one in rows])
    end = begin + np.concatenate([column(one, "dur") for one in rows])
    return (int(begin.min()), int(end.max()) + 1) if len(begin) else None


def loader_workers(trace: Trace) -> list[int]:
    """Process codes of those that the recorder called loader workers."""
    processes = table(trace, "processes")
    return [] if processes is None else processes.loc[processes["role"] == "loader-worker", "process"].tolist()
