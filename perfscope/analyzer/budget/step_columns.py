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


def step_columns(trace: Trace) -> dict[int, list[StepColumn]]:
    """Return the columns of each rank, in order of time, at most about MOST_COLUMNS."""
    rows = trace.fact(steps)
    if not len(rows):
        return {}
    budget, numbers = trace.fact(time_budget), own_numbers(trace)
    return {
        rank: columns_of_rank(rows[rows["rank"] == rank].sort_values("ts"), budget, numbers)
        for rank in rows["rank"].unique().tolist()
    }


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
    rows = rows.assign(kind=kind, number=number, is_far_out=is_far_out)
    if len(budget):
        keys = ["process", "index"]
        rows = rows.merge(budget[[*keys, *CATEGORY_IDS]], on=keys, how="left")
    together = max(1, -(-len(rows) // MOST_COLUMNS))
    begins = np.append(True, rows["kind"].to_numpy()[1:] != rows["kind"].to_numpy()[:-1])
    place = np.arange(len(rows))
    in_run = place - place[begins][np.cumsum(begins) - 1]
    column = np.cumsum(begins | (in_run % together == 0))
    return [column_of(part) for _, part in rows.groupby(column)]


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


def column_of(part: pd.DataFrame) -> StepColumn:
    """Return the column of these steps."""
    left_out = str(part["kind"].iloc[0])
    parts = {}
    if not left_out and CATEGORY_IDS[0] in part:
        parts = {name: float(part[name].mean()) for name in CATEGORY_IDS if part[name].any()}
    return StepColumn(
        first=int(part["number"].iloc[0]),
        last=int(part["number"].iloc[-1]),
        begin_ns=int(part["ts"].iloc[0]),
        end_ns=int((part["ts"] + part["dur"] + part["cut"]).max()),
        mean_ns=float(part["dur"].mean()),
        slowest_ns=int(part["dur"].max()),
        left_out=left_out,
        is_outlier=bool(part["is_far_out"].any()),
        parts=parts,
    )


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
