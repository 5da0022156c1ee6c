"""The steps of a recorded trace with their time cut into categories; where there are none, slices
of it.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.span_budget import in_windows
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.units import Unit, units
from perfscope.traces.trace import Trace

# Twice the steps from which on a bootstrap is trusted, and still long against what repeats in a
# trace.
SLICES = 40


def traced_budget(trace: Trace, steps: pd.DataFrame) -> pd.DataFrame:
    """`steps` with a column of int64 ns for each category, which sum to `dur`, and `gc` and `gil`
    (0: not in a trace).

    A process with several devices is told of by the first of them.
    """
    parts = []
    for unit in {one.process: one for one in reversed(units(trace))}.values():
        rows = steps[column(steps, "process") == unit.process]
        begin = column(rows, "ts")
        parts.append(
            rows.assign(**in_windows(trace, unit, begin, begin + column(rows, "dur")), gc=0, gil=0)
        )
    whole: pd.DataFrame = pd.concat(parts).sort_index()
    return whole


def slices(trace: Trace, unit: Unit) -> pd.DataFrame:
    """The span of a unit in SLICES equal parts with columns as above: what stands for steps where
    nothing repeats.
    """
    edges = np.linspace(unit.begin_ns, unit.end_ns, SLICES + 1).astype(np.int64)
    begin, dur = edges[:-1], np.diff(edges)
    frame = pd.DataFrame(
        {"process": unit.process, "rank": unit.rank, "ts": begin, "dur": dur, "phase": "inference"}
    )
    return frame.assign(
        **in_windows(trace, unit, edges[:-1], edges[1:]),
        gc=0,
        gil=0,
        tid=-1,
        cut=0,
        distorted=False,
    )
