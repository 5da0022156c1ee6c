"""The training (or serving) processes of the job on this host, and its loader workers."""

from perfscope.analyzer.facts.rows import table
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


def loader_workers(trace: Trace) -> list[int]:
    """Process codes of those that the recorder called loader workers."""
    processes = table(trace, "processes")
    return [] if processes is None else processes.loc[processes["role"] == "loader-worker", "process"].tolist()
