"""The other ranks that step together with one: data-parallel ranks wait for each other in every
step, so their delays add up.
"""

import numpy as np

from perfscope.analyzer.run.local_ranks import mates
from perfscope.analyzer.run.steps import steady_steps
from perfscope.analyzer.run.table_access import of_category, rows_of
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, covered
from perfscope.traces.trace import Trace

# Ranks whose mean steps differ by less than this wait for each other (gradient synchronisation).
IN_STEP = 0.05


def peers_in_step(trace: Trace, process: int) -> list[int]:
    """Processes of the other ranks that train at the same time with steps as long as this one's."""
    means = trace.fact(steady_steps).groupby("process")["dur"].mean()
    found = []
    for other in mates(trace, process):
        if (
            other == process
            or other not in means
            or abs(means[other] / means[process] - 1.0) > IN_STEP
        ):
            continue
        trains = of_category(rows_of(trace, "ranges", other), "backward")
        if trains is not None and len(trains):
            found.append(other)
    return found


def longest_input_wait(trace: Trace, process: int, begin: Ints, end: Ints) -> Ints:
    """Per step, the longest wait for input of any of them, ns."""
    longest = np.zeros(len(begin), np.int64)
    for other in peers_in_step(trace, process):
        longest = np.maximum(
            longest, covered(spans_of(rows_of(trace, "loader", other)), begin, end)
        )
    return longest
