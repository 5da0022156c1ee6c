"""The fetches of a rank's workers one by one: by worker, the first after each start, slow ones."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.input.input_pipeline import evaluation_spans, fetches_of, loader_calls
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, Spans, merged
from perfscope.traces.trace import Trace

FETCH_COLUMNS = ("process", "worker", "ts", "dur", "on_core")
FEWEST_FETCHES = 3
"""A worker with fewer fetches does not show how long its fetches take."""


@dataclass(frozen=True)
class FetchTimes:
    """The fetches of a rank's workers in its steady steps.

    `rows` has process, worker, ts and dur (ns) of each, `on_core` (ns, without the waits for a core
    that were read), and `first`: whether it is the first of its worker after a start of an
    iterator. `starts` are the times at which iterators were created.
    """

    rows: pd.DataFrame
    starts: Ints
    spans: dict[int, Spans]
    """When fetches ran, by process, also those that the rank makes itself."""
    collating: dict[int, Spans]
    """When they collated."""

    @property
    def workers(self) -> int:
        """The workers that delivered a batch."""
        return int(self.rows["worker"].nunique())

    @property
    def processes(self) -> int:
        """The worker processes that delivered a batch, also those that were started again."""
        return int(self.rows["process"].nunique())

    @property
    def pause_ns(self) -> float:
        """The mean pause between two fetches of a worker process."""
        pauses = []
        for _, fetches in self.rows.groupby("process"):
            ts, dur = column(fetches, "ts"), column(fetches, "dur")
            pauses.append(ts[1:] - (ts + dur)[:-1])
        lengths = np.concatenate(pauses) if pauses else np.empty(0)
        return max(float(lengths.mean()), 0.0) if len(lengths) else 0.0

    @property
    def later(self) -> pd.DataFrame:
        """The fetches that are not the first after a start."""
        return self.rows[~self.rows["first"]]

    @property
    def usual_ns(self) -> float:
        """The median of the fetches that are not the first after a start, 0 without any."""
        dur = column(self.later, "dur")
        return float(np.median(dur)) if len(dur) else 0.0

    @property
    def first_of_new_workers(self) -> dict[int, int]:
        """Process of each worker started while recording -> instant of its first fetch, ns."""
        first = self.rows[self.rows["first"]].drop_duplicates("process")
        return dict(zip(first["process"].tolist(), first["ts"].tolist(), strict=True))

    @property
    def start_to_first_ns(self) -> float:
        """The median time from the start of an iterator to the first fetch, 0 without any."""
        ts = column(self.rows[self.rows["first"]], "ts")
        if not len(ts):
            return 0.0
        started = self.starts[np.searchsorted(self.starts, ts, side="right") - 1]
        return float(np.median(ts - started))

    @property
    def first_excess_ns(self) -> Ints:
        """What the slowest first fetch after each start takes beyond a usual fetch, per start."""
        first = self.rows[self.rows["first"]]
        if not len(first):
            return np.empty(0, np.int64)
        start = np.searchsorted(self.starts, column(first, "ts"), side="right")
        slowest = first.groupby(start)["dur"].max().to_numpy(np.int64)
        excess: Ints = np.maximum(slowest - int(self.usual_ns), 0)
        return excess

    def by_worker(self) -> dict[int, "WorkerTime"]:
        """Return the fetches of each worker that has enough of them, by its number."""
        times = {}
        for worker, fetches in self.later.groupby("worker"):
            dur = column(fetches, "dur")
            if len(dur) >= FEWEST_FETCHES:
                processes = [int(code) for code in fetches["process"].unique()]
                worker_time = WorkerTime(processes, len(dur), float(dur.mean()), median(dur))
                times[int(str(worker))] = worker_time
        return times

    def slow(self, factor: float) -> pd.DataFrame:
        """Return the fetches, not first ones, that take `factor` times as long as a usual one.

        Not those that only wait longer for a core.
        """
        return self.later[column(self.later, "on_core") >= factor * max(self.usual_ns, 1.0)]


@dataclass(frozen=True)
class WorkerTime:
    """The fetches of one worker: its processes, how many, and ns per batch."""

    processes: list[int]
    count: int
    mean_ns: float
    median_ns: float


def median(values: Ints) -> float:
    """Return the median of some values."""
    return float(np.median(values))


def fetch_times(trace: Trace, process: int) -> FetchTimes:
    """Return the fetches of the workers of a rank in its steady steps."""
    budget = trace.fact(steady_budget)
    steps = budget[budget["process"] == process]
    begin_ns = column(steps, "ts")
    end_ns = begin_ns + column(steps, "dur") + column(steps, "cut")
    evaluation = evaluation_spans(trace, process)
    tid = int(steps["tid"].mode().iloc[0])
    calls = loader_calls(trace, process, tid, merged((begin_ns, end_ns)), evaluation).calls
    starts = np.empty(0, np.int64)
    if calls is not None:
        starts = np.sort(column(calls[calls["kind"] == "start"], "ts"))
    fetches = fetches_of(trace, process, int(begin_ns.min()), int(end_ns.max()), evaluation)
    if fetches is None:
        columns = {name: np.empty(0, np.int64) for name in FETCH_COLUMNS}
        return FetchTimes(pd.DataFrame(columns).assign(first=np.empty(0, bool)), starts, {}, {})
    on_core = fetches["dur"] - fetches["run_delay_ns"].clip(lower=0)
    rows = fetches.assign(on_core=on_core).loc[fetches["worker"] >= 0, list(FETCH_COLUMNS)]
    rows = rows.sort_values("ts", kind="stable")
    start = np.searchsorted(starts, column(rows, "ts"), side="right")
    known = pd.DataFrame({"process": rows["process"], "start": start})
    first = ~known.duplicated().to_numpy(bool) & (start > 0)
    collate_ns = column(fetches, "collate_ns")
    collating = fetches.assign(ts=fetches["ts"] + fetches["dur"] - collate_ns, dur=collate_ns)
    spans, collate_spans = spans_by_process(fetches), spans_by_process(collating)
    return FetchTimes(rows.assign(first=first), starts, spans, collate_spans)


def spans_by_process(rows: pd.DataFrame) -> dict[int, Spans]:
    """Return the intervals in which these fetches ran, by process."""
    return {int(str(process)): spans_of(fetches) for process, fetches in rows.groupby("process")}
