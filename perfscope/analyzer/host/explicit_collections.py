"""Full garbage collections that the program asks for by calling gc.collect."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import steps_of
from perfscope.analyzer.budget.observed_budget import main_thread_id
from perfscope.analyzer.diagnosis import Scope
from perfscope.analyzer.run.phases.phase_intervals import NOT_RECORDED, phase_spans
from perfscope.analyzer.run.ranks.local_ranks import loader_workers
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.traces.frames import Frame, parse_frame
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class ExplicitCollections:
    """The explicit collections of the loop's thread that are made at one place."""

    process: int
    rows: pd.DataFrame
    """Rows of `ranges`."""
    scope: Scope
    """`steps`, or `run` where too few steps were recorded."""
    steps: pd.DataFrame
    """The steady steps, or the recorded time as one."""
    per_step_ns: Ints
    """What they take of each step."""
    steps_between: float
    """Steps from one collection to the next."""
    automatic_ns: int
    """What automatic collections of the same thread take in these steps."""
    path: list[Frame]
    """The program's own frame, then that of a package which calls gc.collect, if one does."""

    @property
    def count(self) -> int:
        """The number of collections in steady steps."""
        return len(self.rows)

    @property
    def lost_ns(self) -> int:
        """What they take of all steady steps."""
        return int(self.per_step_ns.sum())

    @property
    def share(self) -> float:
        """Their share of the steady steps."""
        return self.lost_ns / max(int(column(self.steps, "dur").sum()), 1)

    @property
    def mean_ns(self) -> float:
        """The mean duration of a collection."""
        return float(column(self.rows, "dur").mean())

    @property
    def freed(self) -> int:
        """The objects that they freed."""
        return int(np.maximum(column(self.rows, "value"), 0).sum())


def is_explicit(ranges: pd.DataFrame) -> "pd.Series[bool]":
    """Return which garbage collections the program asked for: they are named by their place."""
    return ranges["name"].astype(str).str.contains(" (", regex=False)


def recorded_time(trace: Trace, process: int) -> pd.DataFrame:
    """Return the recorded time of the main thread as if it were one step."""
    begin_ns, end_ns = recorded_span_ns(trace)
    begin_ns += phase_spans(trace, process).duration_ns(NOT_RECORDED)
    row = {"ts": begin_ns, "dur": max(end_ns - begin_ns, 0), "cut": 0, "index": 0}
    return pd.DataFrame([{**row, "tid": main_thread_id(trace, process)}])


def explicit_collections(trace: Trace, process: int, scope: Scope) -> ExplicitCollections | None:
    """Return the explicit collections at the place that costs most, None without any."""
    steps = steps_of(trace, process) if scope == "steps" else recorded_time(trace, process)
    ranges = rows_of_category(rows_of(trace, "ranges", process), "gc")
    if ranges is None or not len(steps):
        return None
    begin_ns = column(steps, "ts")
    end_ns = begin_ns + column(steps, "dur") + column(steps, "cut")
    ranges = ranges[ranges["tid"].isin(steps["tid"].unique())]
    step = np.searchsorted(begin_ns, column(ranges, "ts"), side="right") - 1
    is_in_step = (step >= 0) & (column(ranges, "ts") < end_ns[np.maximum(step, 0)])
    ranges, step = ranges[is_in_step], step[is_in_step]
    explicit = is_explicit(ranges).to_numpy(bool)
    if not explicit.any():
        return None
    place = ranges["name"].astype(str)
    cost_ns = ranges[explicit].groupby(place[explicit])["dur"].sum()
    most = str(cost_ns.idxmax())
    chosen = explicit & (place == most).to_numpy(bool)
    dur_ns = column(ranges, "dur")
    per_step = np.bincount(step[chosen], dur_ns[chosen], len(steps)).astype(np.int64)
    return ExplicitCollections(
        process=process,
        rows=ranges[chosen],
        scope=scope,
        steps=steps,
        per_step_ns=np.minimum(per_step, column(steps, "dur")),
        steps_between=usual_gap(column(steps, "index")[step[chosen]], len(steps)),
        automatic_ns=int(dur_ns[~explicit].sum()),
        path=[parse_frame(label) for label in most.split(";")],
    )


@dataclass(frozen=True)
class WorkerCollections:
    """The explicit collections that loader workers make at one place."""

    process: int
    """The worker that makes most of them."""
    rows: pd.DataFrame
    fetches: int
    fetch_share: float
    """Their share of the time of all fetches of workers."""
    path: list[Frame]


def worker_collections(trace: Trace) -> WorkerCollections | None:
    """Return the explicit collections of loader workers at the place that costs most, or None."""
    workers, ranges = loader_workers(trace), table(trace, "ranges")
    fetches = table(trace, "fetches")
    if ranges is None or fetches is None or not workers:
        return None
    collected = ranges[(ranges["category"] == "gc") & ranges["process"].isin(workers)]
    collected = collected[is_explicit(collected)]
    fetches = fetches[fetches["process"].isin(workers)]
    fetched_ns = int(column(fetches, "dur").sum())
    if not len(collected) or not fetched_ns:
        return None
    place = collected["name"].astype(str)
    most = str(collected.groupby(place)["dur"].sum().idxmax())
    rows = collected[place == most]
    return WorkerCollections(
        process=int(rows["process"].mode().iloc[0]),
        rows=rows,
        fetches=len(fetches),
        fetch_share=min(int(column(rows, "dur").sum()) / fetched_ns, 1.0),
        path=[parse_frame(label) for label in most.split(";")],
    )


def usual_gap(steps: Ints, every: int) -> float:
    """Return the median gap between steps with a collection, or their mean number within a step.

    `steps` are the numbers of the steps, one for each collection, and `every` is how many there are
    in all.
    """
    gap = float(np.median(np.diff(steps))) if len(steps) > 1 else 0.0
    return gap if gap >= 1.0 else every / max(len(steps), 1)
