"""What the job did while counters were read: its steps, and stretches that are no training, to be
drawn behind them.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.table_access import column, of_category, table
from perfscope.traces.intervals import merged
from perfscope.traces.trace import Trace

NAMED = {"eval": "evaluation", "warmup": "warm-up"}


@dataclass(frozen=True)
class Marks:
    """`steps`: starts of the first rank's steps, ns; `stretches`: (begin ns, end ns, what)."""

    steps: list[int]
    stretches: list[tuple[int, int, str]]


def marks(trace: Trace) -> Marks:
    """Of the first rank."""
    rows = trace.fact(steps)
    if len(rows):
        rows = rows[rows["process"] == rows["process"].iloc[0]]
    begin = column(rows, "ts") if len(rows) else np.empty(0, np.int64)
    stretches = []
    for phase, what in NAMED.items():
        own = rows[rows["phase"] == phase] if len(rows) else rows
        ts = column(own, "ts") if len(own) else np.empty(0, np.int64)
        spans = merged((ts, ts + (column(own, "dur") if len(own) else ts) + 1_000))
        stretches += [(int(low), int(high), what) for low, high in zip(*spans, strict=True)]
    saved = of_category(table(trace, "ranges"), "checkpoint")
    if saved is not None and len(saved):
        ts = column(saved, "ts")
        spans = merged((ts, ts + column(saved, "dur")))
        stretches += [(int(low), int(high), "checkpoint") for low, high in zip(*spans, strict=True)]
    return Marks(begin.tolist(), sorted(stretches))
