"""Steps of a profiler's trace: from marks, ranges, optimizer steps, or the period of kernels."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import Unit, units
from perfscope.analyzer.run.loops.repeating_work import period_starts
from perfscope.analyzer.run.loops.warm_up import warm_up
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, rows_of_category
from perfscope.traces.intervals import Ints, Spans, covered
from perfscope.traces.trace import Trace

FEWEST_MARKS = 3
"""Two marks have one step between them, which nothing confirms."""
STEP_NAME = re.compile(
    r"^(?!Optimizer\.).*\b(train(ing)?[ _-]?)?(step|iter(ation)?|batch)\b[ _#:-]*\d*$", re.I
)
OPTIMIZER = re.compile(r"^Optimizer\.step#")
TRAINS = re.compile(r"Backward|^Optimizer\.step#|autograd::engine")
CLOSE = 0.05
"""A pause between marks below this share of a step belongs to the step."""
ROUNDING_NS = 1_000
"""A float64 of microseconds since 1970 holds times to a quarter of a microsecond; some writers cut
to whole ones.
"""


@dataclass(frozen=True)
class StepMarks:
    """Begin and end of each step of one process in ns.

    `tid` is the thread of the marks (-1: none), `source` what they are, `left_out` how many more
    overlap these.
    """

    begin: Ints
    end: Ints
    tid: int
    source: str
    left_out: int = 0


def traced_steps(trace: Trace) -> pd.DataFrame:
    """Return the steps of every process with a time budget, with the columns of `steps`.

    `cut` is 0.
    """
    parts = [
        marked_step_rows(trace, unit, marks)
        for unit, marks in trace.fact(step_marks)
        if marks is not None and len(marks.begin)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def step_marks(trace: Trace) -> list[tuple[Unit, StepMarks | None]]:
    """Return the first unit of each process with its marks; None where nothing repeats."""
    seen: set[int] = set()
    found = []
    for unit in units(trace):
        if unit.process not in seen:
            seen.add(unit.process)
            marks = marks_of_unit(trace, unit)
            if marks is not None:
                marks = known_steps(marks, observed_time(trace, unit).unknown)
            found.append((unit, marks))
    return found


def known_steps(marks: StepMarks, unknown: Spans) -> StepMarks:
    """Return the steps without those in which the device did what is unknown."""
    if not len(unknown[0]):
        return marks
    dur = marks.end - marks.begin
    kept = covered(unknown, marks.begin, marks.end) <= CLOSE * dur
    return replace(marks, begin=marks.begin[kept], end=marks.end[kept])


def marks_of_unit(trace: Trace, unit: Unit) -> StepMarks | None:
    """Return the marks of a process, from the first kind of mark that it has."""
    ranges = table_rows(trace, "ranges", unit.process)
    marked = rows_of_category(ranges, "step")
    if marked is not None and len(marked):
        return marks_from_ranges(marked, "the profiler's step marks")
    named = most_used_name(rows_of_category(ranges, "annotation", "nvtx"), STEP_NAME)
    if named is not None:
        return marks_from_ranges(named, f"the ranges called {named['name'].iloc[0]}")
    updates = most_used_name(rows_of_category(ranges, "annotation", "nvtx", "optimizer"), OPTIMIZER)
    if updates is not None:
        ends = np.sort(column(updates, "ts") + column(updates, "dur"))
        return StepMarks(ends[:-1], ends[1:], int(updates["tid"].iloc[0]), "the optimizer's steps")
    starts, sequence = period_starts(trace, unit)
    if len(starts) <= FEWEST_MARKS:
        return None
    return StepMarks(starts[:-1], starts[1:], -1, f"the period of the {sequence}")


def most_used_name(ranges: pd.DataFrame | None, pattern: re.Pattern[str]) -> pd.DataFrame | None:
    """Return the ranges of the name and thread that cover most time, None without enough of them.

    Names that differ in numbers only are one name.
    """
    if ranges is None or not len(ranges):
        return None
    wanted = {
        name: re.sub(r"[\d ]+", "", name)
        for name in ranges["name"].cat.categories
        if pattern.search(name)
    }
    rows = ranges[ranges["name"].isin(list(wanted))]
    best: pd.DataFrame | None = None
    for _, part in rows.groupby([rows["name"].astype(object).map(wanted), rows["tid"]]):
        if len(part) >= FEWEST_MARKS and (best is None or part["dur"].sum() > best["dur"].sum()):
            best = part
    return best


def marks_from_ranges(ranges: pd.DataFrame, source: str) -> StepMarks:
    """Return ranges as steps; a short pause after one belongs to it.

    Of nested or overlapping ranges the outer count. Where several threads mark the same steps, one
    of them counts.
    """
    rows = ranges.sort_values("ts", kind="stable")
    apart = begins_after_all_before(rows)
    if not apart.all() and rows["tid"].nunique() > 1:
        rows = rows[rows["tid"] == rows["tid"].mode().iloc[0]]
        apart = begins_after_all_before(rows)
    begin, end = column(rows, "ts")[apart], (column(rows, "ts") + column(rows, "dur"))[apart]
    follows = np.append(begin[1:], end[-1:])
    close = (follows - end >= 0) & (follows - end <= CLOSE * (end - begin))
    return StepMarks(
        begin,
        np.where(close, follows, np.minimum(end, follows)),
        int(rows["tid"].iloc[0]),
        source,
        int((~apart).sum()),
    )


def begins_after_all_before(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which ranges (in order of time) begin when all before have ended.

    Successive marks may overlap by rounding, or by the time of leaving a step and entering the
    next.
    """
    begin, dur = column(rows, "ts"), column(rows, "dur")
    before = np.concatenate((begin[:1], np.maximum.accumulate(begin + dur)[:-1]))
    apart: NDArray[np.bool_] = begin >= before - np.maximum(CLOSE * dur, ROUNDING_NS)
    return apart


def marked_step_rows(trace: Trace, unit: Unit, marks: StepMarks) -> pd.DataFrame:
    """Return the steps of these marks as rows."""
    dur = marks.end - marks.begin
    warm = warm_up(dur, np.zeros(len(dur), bool))
    phase = "train" if has_training_work(trace, unit.process) else "inference"
    return pd.DataFrame(
        {
            "process": unit.process,
            "rank": unit.rank,
            "index": np.arange(len(dur)),
            "ts": marks.begin,
            "dur": dur,
            "phase": np.where(warm, "warmup", phase),
            "micro_steps": 1,
            "distorted": False,
            "tid": marks.tid,
            "cut": 0,
        }
    )


def has_training_work(trace: Trace, process: int) -> bool:
    """Return whether a process has a backward pass or an optimizer."""
    for name in ("ops", "ranges"):
        frame = table_rows(trace, name, process)
        if frame is not None:
            names = frame["name"].cat
            used = np.unique(names.codes.to_numpy())
            if any(TRAINS.search(text) for text in names.categories[used[used >= 0]]):
                return True
    return False
