"""The steps of the critical process: how many, how long, and which were the slowest."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.lines.line_samples import hottest_line_between
from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnosis import SlowStep, StepSummary
from perfscope.analyzer.run.budget_units import Unit
from perfscope.analyzer.run.loops.steps import steady
from perfscope.analyzer.run.loops.trace_steps import StepMarks, step_marks
from perfscope.traces.trace import Trace

MOST_SLOW_STEPS = 10
UNITS = {"train": "training-step", "inference": "forward"}


def step_summary(trace: Trace, process: int | None) -> StepSummary:
    """Return the steady steps of `process`, of the first process with any where it is None."""
    every_step = trace.fact(time_budget)
    steady_rows = steady(every_step)
    distorted = int(every_step["distorted"].sum()) if len(every_step) else 0
    if process is None and len(steady_rows):
        process = int(steady_rows["process"].iloc[0])
    rows = steady_rows[steady_rows["process"] == process]
    if not len(rows):
        return StepSummary(0, None, None, None, distorted)
    duration_ms = rows["dur"] / 1e6
    sources = (marks.source for unit, marks in marks_of(trace) if unit.process == process and marks)
    return StepSummary(
        count=len(rows),
        mean_ms=round(float(duration_ms.mean()), 4),
        p50_ms=round(float(duration_ms.quantile(0.5)), 4),
        p95_ms=round(float(duration_ms.quantile(0.95)), 4),
        distorted=distorted,
        source=next(sources, None),
        unit=UNITS.get(str(rows["phase"].mode().iloc[0]), "training-step"),
        slowest=slowest_steps(trace, rows),
    )


def slowest_steps(trace: Trace, rows: pd.DataFrame) -> list[SlowStep]:
    """Return the longest steps, longest first.

    Each has the category that it has most more of, and the line that was sampled most often in it.
    """
    names = list(CATEGORY_IDS)
    slowest = rows.nlargest(MOST_SLOW_STEPS, "dur")
    excess_ns = slowest[names].to_numpy(np.float64) - rows[names].median().to_numpy(np.float64)
    found = []
    for (_, row), excess in zip(slowest.iterrows(), excess_ns, strict=True):
        category = names[int(np.argmax(excess))] if float(excess.max()) > 0.0 else None
        step_ms = round(float(row["dur"]) / 1e6, 4)
        begin_ns, end_ns = int(row["ts"]), int(row["ts"] + row["dur"] + row["cut"])
        where = hottest_line_between(trace, int(row["process"]), begin_ns, end_ns)
        found.append(SlowStep(int(row["index"]), begin_ns, step_ms, category, where))
    return found


def marks_of(trace: Trace) -> list[tuple[Unit, StepMarks | None]]:
    """Return what the steps of a profiler's trace were found by; nothing for other recordings."""
    return trace.fact(step_marks) if trace.has_profiled_work else []


def steps_left_out(trace: Trace) -> list[str]:
    """Return a line on step marks that were not counted, because they overlap others."""
    count = sum(marks.left_out for _, marks in marks_of(trace) if marks is not None)
    return [f"{count} marks of steps left out: they overlap others"] if count else []
