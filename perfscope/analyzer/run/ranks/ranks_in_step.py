"""The ranks that step together: data-parallel ranks wait for each other, so their delays add up."""

import numpy as np

from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes
from perfscope.analyzer.run.table_access import column, rows_of, rows_with_name, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, covered
from perfscope.traces.trace import Trace

MOST_DIFFERENCE = 0.05
"""Ranks whose mean steps differ by less wait for each other (gradient synchronization)."""


def peers_in_step(trace: Trace, process: int) -> list[int]:
    """Return the other processes that train at the same time with steps of the same length."""
    means = trace.fact(means_of_training)
    mean_ns = trace.fact(mean_step_ns)[process]
    return [
        other
        for other in concurrent_processes(trace, process)
        if other != process
        and other in means
        and abs(means[other] / mean_ns - 1.0) <= MOST_DIFFERENCE
    ]


def mean_step_ns(trace: Trace) -> dict[int, float]:
    """Return the mean duration of the steady steps of each process, ns."""
    means = trace.fact(steady_steps).groupby("process")["dur"].mean()
    return dict(zip(means.index.tolist(), means.tolist(), strict=True))


def means_of_training(trace: Trace) -> dict[int, float]:
    """Return the `mean_step_ns` of the processes with a backward pass."""
    ranges = table(trace, "ranges")
    if ranges is None:
        return {}
    trains = np.unique(column(rows_with_name(ranges, "category", "backward"), "process"))
    means = trace.fact(mean_step_ns)
    return {process: means[process] for process in trains.tolist() if process in means}


def longest_input_wait(trace: Trace, process: int, begin: Ints, end: Ints) -> Ints:
    """Return, per step, the longest wait for input of any peer, ns."""
    longest = np.zeros(len(begin), np.int64)
    if not trace.fact(means_of_training):
        return longest
    for peer in peers_in_step(trace, process):
        waits = covered(spans_of(rows_of(trace, "loader", peer)), begin, end)
        longest = np.maximum(longest, waits)
    return longest
