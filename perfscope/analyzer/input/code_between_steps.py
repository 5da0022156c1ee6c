"""The code that runs (or waits) between the steps of a loop without a PyTorch loader."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import TORCH, iteration_gaps
from perfscope.traces.frames import parse_frame
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class GapCode:
    """The innermost frame, `function (file:line)`, most often sampled between steps.

    `share` is its share of these samples.
    """

    frame: str
    share: float


def gap_code(trace: Trace) -> dict[int, GapCode]:
    """Return the code between steps by process; processes with too few samples are left out."""
    budget = trace.fact(steady_budget)
    processes = column(budget, "process")
    codes = {}
    for process in np.unique(processes):
        code = gap_code_of(trace, int(process), budget[processes == process])
        if code is not None:
            codes[int(process)] = code
    return codes


def gap_code_of(trace: Trace, process: int, steps: pd.DataFrame) -> GapCode | None:
    """Return the code between the `steps` of one process, None with too few samples there."""
    stacks, ranges = rows_of(trace, "stacks", process), rows_of(trace, "ranges", process)
    tid = int(steps["tid"].mode().iloc[0])
    torch = None if ranges is None else rows_of_category(ranges[ranges["tid"] == tid], *TORCH)
    if stacks is None or torch is None or not len(torch):
        return None
    begin, end = column(steps, "ts"), column(steps, "ts") + column(steps, "dur")
    between = iteration_gaps(torch, int(begin.min()), int(end.max()))
    samples = stacks[(column(stacks, "tid") == tid) & inside(between, column(stacks, "ts"))]
    if len(samples) < FEWEST_SAMPLES:
        return None
    frames = samples["stack"].astype(str).str.rsplit(";", n=1).str[-1]
    weight = samples.groupby(frames)["weight_ns"].sum()
    return GapCode(str(parse_frame(str(weight.idxmax()))), float(weight.max() / weight.sum()))
