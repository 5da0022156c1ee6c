"""The time budget of the steps of a profiler's trace; where there are none, of slices of it."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.budget.span_budget import amounts_in, category_times_of_rows
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import Unit, first_units
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import covered, single_interval
from perfscope.traces.trace import Trace

SLICES = 40
"""Twice the steps that a bootstrap needs, and each still long compared with what repeats."""


def traced_budget(trace: Trace, steps: pd.DataFrame) -> pd.DataFrame:
    """Return `steps` with a column of int64 ns for each category, which sum to `dur`.

    `gc` and `gil` are 0: a trace does not show them. A process with several devices is described by
    the first of them.
    """
    with_unit = np.isin(column(steps, "process"), list(first_units(trace)))
    rows = steps[with_unit]
    return rows.assign(**category_times_of_rows(trace, rows), gc=0, gil=0).sort_index()


def slices(trace: Trace, unit: Unit) -> pd.DataFrame:
    """Return the time in which the work of a unit is known, cut in SLICES parts, with the columns
    of `traced_budget`.

    They take the place of steps where nothing repeats.
    """
    known = observed_time(trace, unit).spans
    if not len(known[0]):
        known = single_interval(unit.begin_ns, unit.end_ns)
    edges = np.linspace(known[0][0], known[1][-1], SLICES + 1).astype(np.int64)
    pieces = rows_on_device(fact_rows(trace, segments, unit.process), unit.device)
    amounts = amounts_in(pieces, edges[:-1], edges[1:])
    begin, dur = edges[:-1], covered(known, edges[:-1], edges[1:])
    frame = pd.DataFrame(
        {"process": unit.process, "rank": unit.rank, "ts": begin, "dur": dur, "phase": "inference"}
    )
    sliced = frame.assign(**amounts, gc=0, gil=0, tid=-1, cut=0, distorted=False)
    return sliced[dur > 0]
