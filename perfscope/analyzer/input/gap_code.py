"""Which code runs (or waits) between the steps of a loop that asks no PyTorch loader, from stack
samples.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, of_category, rows_of
from perfscope.analyzer.run.thread_intervals import TORCH, gaps
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class GapCode:
    """The innermost frame, `function (file:line)`, in which most of the samples between steps were,
    and its share of them.
    """

    frame: str
    share: float


def gap_code(trace: Trace) -> dict[int, GapCode]:
    """By process of a training loop; without those of which too few samples lie between steps."""
    found = {}
    budget = trace.fact(steady_budget)
    for process in np.unique(column(budget, "process")):
        own = budget[column(budget, "process") == process]
        stacks, tid = rows_of(trace, "stacks", int(process)), int(own["tid"].mode().iloc[0])
        ranges = rows_of(trace, "ranges", int(process))
        torch = None if ranges is None else of_category(ranges[ranges["tid"] == tid], *TORCH)
        if stacks is None or torch is None or not len(torch):
            continue
        between = gaps(
            torch, int(column(own, "ts").min()), int((column(own, "ts") + column(own, "dur")).max())
        )
        rows = stacks[(column(stacks, "tid") == tid) & inside(between, column(stacks, "ts"))]
        if len(rows) < FEWEST_SAMPLES:
            continue
        weight = rows.groupby(rows["stack"].astype(str).str.rsplit(";", n=1).str[-1])[
            "weight_ns"
        ].sum()
        found[int(process)] = GapCode(str(weight.idxmax()), float(weight.max() / weight.sum()))
    return found
