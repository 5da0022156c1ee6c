"""The ranks that step together: data-parallel ranks wait for each other, so their delays add up."""

import numpy as np

from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.analyzer.run.ranks.local_ranks import concurrent_processes
from perfscope.analyzer.run.table_access import rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, covered
from perfscope.traces.trace import Trace

MOST_DIFFERENCE = 0.05
"""Ranks whose mean steps differ by less wait for each other (gradient synchronization)."""


def peers_in_step(trace: Trace, process: int) -> list[int]:
    """Return the other processes that train at the same time with steps of the same length."""
    means = trace.fact(steady_steps).groupby("process")["dur"].mean()
    peers = []
    for other in concurrent_processes(trace, process):
        if other == process or other not in means:
            continue
        if abs(means[other] / means[process] - 1.0) > MOST_DIFFERENCE:
            continue
        backward = rows_of_category(rows_of(trace, "ranges", other), "backward")
        if backward is not None and len(backward):
            peers.append(other)
    return peers


def longest_input_wait(trace: Trace, process: int, begin: Ints, end: Ints) -> Ints:
    """Return, per step, the longest wait for input of any peer, ns."""
    longest = np.zeros(len(begin), np.int64)
    for peer in peers_in_step(trace, process):
        waits = covered(spans_of(rows_of(trace, "loader", peer)), begin, end)
        longest = np.maximum(longest, waits)
    return longest
