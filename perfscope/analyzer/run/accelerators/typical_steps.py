"""How typical the steps of a profiling window are of all steps of a recording.

Where an iteration has several steps (an agent collects data, then updates its weights a few times),
short and long steps alternate, and a window of a few steps may hold them in another proportion.
Steps differ by the number of calls of modules in them.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.loops.steps import STEADY, steps
from perfscope.analyzer.run.table_access import column, rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

LEAST_COVERED: Final = 0.9
"""The share of all steps whose kind must be in a window."""


def weights_of_steps(trace: Trace, process: int, used: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return how much each of the used steps counts, so that each kind counts as often as in all
    steady steps; the mean weight is 1.

    None where too many steps are of a kind that is not among those used.
    """
    every = trace.fact(steps)
    every = every[(every["process"] == process) & every["phase"].isin(STEADY)]
    if not len(every) or not len(used):
        return np.ones(len(used))
    kinds, kinds_used = kinds_of_steps(trace, process, every), kinds_of_steps(trace, process, used)
    different, place, counts = np.unique(kinds_used, return_inverse=True, return_counts=True)
    shares = np.array([float(np.mean(kinds == kind)) for kind in different])
    if shares.sum() < LEAST_COVERED:
        return None
    weights: NDArray[np.float64] = (shares / counts)[place]
    weights *= len(used) / weights.sum()
    return weights


def kinds_of_steps(trace: Trace, process: int, rows: pd.DataFrame) -> Ints:
    """Return the kind of each step: the number of its calls of modules, in powers of two."""
    calls = rows_of_category(table(trace, "ranges"), "forward")
    ts = np.sort(column(calls, "ts")[column(calls, "process") == process])
    begin = column(rows, "ts")
    end = begin + column(rows, "dur") + column(rows, "cut")
    counts = np.searchsorted(ts, end) - np.searchsorted(ts, begin)
    kinds: Ints = np.ceil(np.log2(counts + 1)).astype(np.int64)
    return kinds
