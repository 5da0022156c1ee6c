"""What the job did while counters were read: its steps, and stretches that do not train, which
charts draw behind the counters.
"""

from dataclasses import dataclass
from typing import Final

import pandas as pd

from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.table_access import column, rows_of_category, table
from perfscope.traces.intervals import merged
from perfscope.traces.trace import Trace

LABELS: Final = {"eval": "evaluation", "warmup": "warm-up"}
JOINED_NS: Final = 1_000
"""Steps of one phase that are at most this far apart form one stretch."""


@dataclass(frozen=True)
class JobPhases:
    """`steps`: starts of the first rank's steps, ns; `stretches`: (begin ns, end ns, label)."""

    steps: list[int]
    stretches: list[tuple[int, int, str]]


def job_phases(trace: Trace) -> JobPhases:
    """Return the phases of the first rank."""
    rows = trace.fact(steps)
    stretches = checkpoint_stretches(trace)
    if not len(rows):
        return JobPhases([], stretches)
    rows = rows[rows["process"] == rows["process"].iloc[0]]
    for phase, label in LABELS.items():
        stretches += labeled_stretches(rows[rows["phase"] == phase], label, JOINED_NS)
    return JobPhases(column(rows, "ts").tolist(), sorted(stretches))


def checkpoint_stretches(trace: Trace) -> list[tuple[int, int, str]]:
    """Return the stretches in which any process writes a checkpoint."""
    written = rows_of_category(table(trace, "ranges"), "checkpoint")
    return [] if written is None else labeled_stretches(written, "checkpoint", 0)


def labeled_stretches(rows: pd.DataFrame, label: str, joined_ns: int) -> list[tuple[int, int, str]]:
    """Return the time of these rows as stretches with a label; small gaps are closed."""
    ts = column(rows, "ts")
    begins, ends = merged((ts, ts + column(rows, "dur") + joined_ns))
    return [(int(begin), int(end), label) for begin, end in zip(begins, ends, strict=True)]
