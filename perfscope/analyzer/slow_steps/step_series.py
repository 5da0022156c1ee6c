"""The steps of one process in order, each divided into calls of torch and the rest."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.loops.steps import STEADY, steps
from perfscope.analyzer.run.phases.phase_intervals import VALIDATION, phase_spans
from perfscope.analyzer.run.resources.cumulative_counters import readings
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, Spans, exclusive, merged
from perfscope.traces.trace import Trace

FORWARD: Final = "forward"
BACKWARD: Final = "backward"
OPTIMIZER: Final = "optimizer"
REST: Final = "rest"
PARTS: Final = (FORWARD, BACKWARD, OPTIMIZER, REST)
EXPLAINED_ELSEWHERE: Final = ("checkpoint", "gc", "compilation")
"""Categories of ranges whose time other findings explain."""


@dataclass(frozen=True)
class StepSeries:
    """The steady steps of one process, in order; times in ns.

    `end_ns` includes validation that interrupts a step. `number` counts all training steps of the
    recording, also those that are not steady. `parts` divide `work_ns`: the step without validation
    and without what other findings explain (waits for a loader, checkpoints, garbage collections,
    compilation).
    """

    process: int
    tid: int
    begin_ns: Ints
    end_ns: Ints
    number: Ints
    dur_ns: Ints
    parts: dict[str, Ints]
    delay_ns: Ints
    """The time in which the thread waited for a core, interpolated between readings; else 0."""
    starts_iterator: NDArray[np.bool_]
    """Whether an iterator of a data loader is created in the step."""
    forward_calls: Ints

    def __len__(self) -> int:
        return len(self.begin_ns)

    @property
    def work_ns(self) -> Ints:
        """The time of each step without what other findings explain."""
        total: Ints = np.sum([self.parts[name] for name in PARTS], axis=0, dtype=np.int64)
        return total

    @property
    def own_ns(self) -> Ints:
        """The work of each step without the time in which the thread waits for a core."""
        return self.without_delay(self.work_ns)

    def own_part_ns(self, name: str) -> Ints:
        """Return a part of each step without the time in which the thread waits for a core."""
        return self.without_delay(self.parts[name])

    def without_delay(self, times_ns: Ints) -> Ints:
        """Return times within steps (ns) without the time in which the thread waits for a core.

        The wait for a core is spread evenly over the step, because part of it falls into waits for
        the loader.
        """
        delayed = self.delay_ns / np.maximum(self.end_ns - self.begin_ns, 1)
        undelayed: Ints = (times_ns * (1.0 - np.minimum(delayed, 1.0))).astype(np.int64)
        return undelayed

    @property
    def spans(self) -> Spans:
        """The time of all steps."""
        return self.spans_where(np.ones(len(self), bool))

    def spans_where(self, chosen: NDArray[np.bool_]) -> Spans:
        """Return the time of the chosen steps."""
        return merged((self.begin_ns[chosen], self.end_ns[chosen]))


def step_series(trace: Trace, process: int) -> StepSeries | None:
    """Return the steady steps of a process, None where it has none."""
    rows = trace.fact(steps)
    rows = rows[(rows["process"] == process) & (rows["phase"] != "eval")]
    number = np.arange(len(rows), dtype=np.int64)
    kept = rows["phase"].isin(STEADY).to_numpy(bool) & ~rows["distorted"].to_numpy(bool)
    rows, number = rows[kept], number[kept]
    if not len(rows):
        return None
    tid = int(rows["tid"].mode().iloc[0])
    begin = column(rows, "ts")
    end = begin + column(rows, "dur") + column(rows, "cut")
    loader, ranges = (thread_rows(trace, name, process, tid) for name in ("loader", "ranges"))
    explained = merged(spans_of(loader), spans_of(rows_of_category(ranges, *EXPLAINED_ELSEWHERE)))
    calls = [
        spans_of(rows_of_category(ranges, *categories))
        for categories in ((OPTIMIZER, "scaler"), (BACKWARD,), (FORWARD,))
    ]
    validation = phase_spans(trace, process).of(VALIDATION)
    in_validation, in_explained, optimizer, backward, forward = exclusive(
        [validation, explained, *calls], begin, end
    )
    rest = end - begin - in_validation - in_explained - optimizer - backward - forward
    parts = {FORWARD: forward, BACKWARD: backward, OPTIMIZER: optimizer, REST: rest}
    starts = column(None if loader is None else loader[loader["kind"] == "start"], "ts")
    return StepSeries(
        process=process,
        tid=tid,
        begin_ns=begin,
        end_ns=end,
        number=number,
        dur_ns=column(rows, "dur"),
        parts=parts,
        delay_ns=delay_within(trace, process, tid, (begin, end)),
        starts_iterator=counted_within(starts, begin, end) > 0,
        forward_calls=counted_within(column(rows_of_category(ranges, FORWARD), "ts"), begin, end),
    )


def thread_rows(trace: Trace, name: str, process: int, tid: int) -> pd.DataFrame | None:
    """Return the rows of one thread in a table, None where the table is absent."""
    rows = rows_of(trace, name, process)
    return None if rows is None or tid < 0 else rows[column(rows, "tid") == tid]


def delay_within(trace: Trace, process: int, tid: int, windows: Spans) -> Ints:
    """Return the ns in which a thread waited for a core, in each window."""
    frame = readings(trace, "run_delay_ns")
    begin, end = windows
    if frame is None:
        return np.zeros(len(begin), np.int64)
    rows = frame[(frame["process"] == process) & (frame["tid"] == tid)]
    if len(rows) < 2:
        return np.zeros(len(begin), np.int64)
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    grown = np.interp(end, ts, value) - np.interp(begin, ts, value)
    delay: Ints = np.maximum(grown, 0.0).astype(np.int64)
    return delay


def counted_within(instants: Ints, begin: Ints, end: Ints) -> Ints:
    """Return how many of the instants are in each window [begin, end)."""
    instants = np.sort(instants)
    return np.asarray(np.searchsorted(instants, end) - np.searchsorted(instants, begin))
