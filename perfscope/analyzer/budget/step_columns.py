"""The steps of a rank as the columns of a chart: of many steps, the mean of neighbors."""

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.loops.steps import STEADY, steps
from perfscope.analyzer.run.table_access import rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

MOST_COLUMNS = 240
FAR_OUT = 3.0
"""Interquartile ranges above the upper quartile from which on a step is an outlier (Tukey,
Exploratory Data Analysis, 1977: "far out").
"""
STEADY_STEP, WARM_UP, EVALUATED, PROFILED = "", "warm-up", "validation", "profiling window"
Flags = NDArray[np.bool_]
STEP_NUMBER = re.compile(r"#(\d+)$")


@dataclass(frozen=True)
class StepColumn:
    """Neighboring steps of a kind; times in ns, steps numbered as the program does."""

    first: int
    last: int
    begin_ns: int
    end_ns: int
    mean_ns: float
    slowest_ns: int
    left_out: str
    """Why the steps are not in the time budget: warm-up, validation, profiling window, or ""."""
    is_outlier: bool
    """Whether the slowest of the steps is far slower than steps usually are."""
    parts: dict[str, float] = field(default_factory=dict)
    """Mean time in each category of the time budget; empty where the steps are left out."""


def step_columns(trace: Trace, rank: int) -> list[StepColumn]:
    """Return the columns of a rank, in order of time, at most about MOST_COLUMNS."""
    known = trace.fact(known_step_columns)
    if rank not in known:
        known[rank] = find_step_columns(trace, rank)
    return known[rank]


def known_step_columns(trace: Trace) -> dict[int, list[StepColumn]]:
    """Return the columns of each rank that was asked for before; a page shows only one."""
    return {}


def find_step_columns(trace: Trace, rank: int) -> list[StepColumn]:
    """Return the `step_columns` of a rank, without the cache."""
    rows = trace.fact(steps)
    rows = rows[rows["rank"] == rank].sort_values("ts") if len(rows) else rows
    if not len(rows):
        return []
    return columns_of_rank(rows, trace.fact(time_budget), own_numbers(trace))


def columns_of_rank(
    rows: pd.DataFrame, budget: pd.DataFrame, numbers: dict[tuple[int, int], int]
) -> list[StepColumn]:
    """Return the columns of a rank's steps."""
    kind = np.array(
        [left_out_reason(phase, hit) for phase, hit in rows[["phase", "distorted"]].to_numpy()]
    )
    is_far_out = far_out(rows["dur"].to_numpy(float), kind == STEADY_STEP)
    number = [
        numbers.get((int(process), int(ts)), int(index))
        for process, ts, index in rows[["process", "ts", "index"]].to_numpy()
    ]
    if len(budget):
        keys = ["process", "index"]
        rows = rows.merge(budget[[*keys, *CATEGORY_IDS]], on=keys, how="left")
    first = column_starts(kind)
    last = np.append(first[1:], len(rows)) - 1
    means = {
        name: means_from(rows[name].to_numpy(np.float64), first)
        for name in CATEGORY_IDS
        if name in rows and rows[name].any()
    }
    dur, ts = rows["dur"].to_numpy(np.int64), rows["ts"].to_numpy(np.int64)
    ends = ts + dur + rows["cut"].to_numpy(np.int64)
    return [
        StepColumn(
            first=number[begin],
            last=number[end],
            begin_ns=int(ts[begin]),
            end_ns=int(ends[begin : end + 1].max()),
            mean_ns=float(dur[begin : end + 1].mean()),
            slowest_ns=int(dur[begin : end + 1].max()),
            left_out=str(kind[begin]),
            is_outlier=bool(is_far_out[begin : end + 1].any()),
            parts={}
            if kind[begin]
            else {name: float(mean[at]) for name, mean in means.items() if mean[at] > 0},
        )
        for at, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True))
    ]


def column_starts(kind: NDArray[np.str_]) -> Ints:
    """Return the first step of each column; no column has steps of two kinds."""
    together = max(1, -(-len(kind) // MOST_COLUMNS))
    place = np.arange(len(kind))
    begins = np.append(True, kind[1:] != kind[:-1])
    in_run = place - np.maximum.accumulate(np.where(begins, place, 0))
    return np.flatnonzero(begins | (in_run % together == 0))


def means_from(values: NDArray[np.float64], first: Ints) -> NDArray[np.float64]:
    """Return the mean of the known values from each of these positions to the next, 0 without."""
    known = np.add.reduceat((~np.isnan(values)).astype(np.int64), first)
    means: NDArray[np.float64] = np.add.reduceat(np.nan_to_num(values), first) / np.maximum(
        known, 1
    )
    return means


def left_out_reason(phase: str, is_distorted: bool) -> str:
    """Return why a step is left out, or STEADY_STEP."""
    if is_distorted:
        return PROFILED
    if phase in STEADY:
        return STEADY_STEP
    return EVALUATED if phase == "eval" else WARM_UP


def far_out(dur: NDArray[np.float64], steady: Flags) -> Flags:
    """Return which steady steps are far slower than the others."""
    if steady.sum() < 4:
        return np.zeros(len(dur), bool)
    lower, upper = np.percentile(dur[steady], (25, 75))
    found: Flags = steady & (dur > upper + FAR_OUT * (upper - lower))
    return found


def own_numbers(trace: Trace) -> dict[tuple[int, int], int]:
    """Return the number that the program's own profiler gave a step, by process and begin."""
    marks = rows_of_category(table(trace, "ranges"), "step")
    if marks is None or not len(marks):
        return {}
    found = {}
    for process, ts, name in marks[["process", "ts", "name"]].itertuples(index=False):
        number = STEP_NUMBER.search(str(name))
        if number is not None:
            found[int(process), int(ts)] = int(number[1])
    return found
