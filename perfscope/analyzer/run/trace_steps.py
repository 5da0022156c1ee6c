"""Steps of a recorded trace: from the profiler's marks, else from ranges, optimizer steps or the
period of what ran.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.repeating_work import period_starts
from perfscope.analyzer.run.table_access import column, of_category, table
from perfscope.analyzer.run.units import Unit, units
from perfscope.analyzer.run.warm_up import warm_up
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

# Two marks have one step between them, which nothing confirms.
FEWEST_MARKS = 3
STEP_NAME = re.compile(
    r"^(?!Optimizer\.).*\b(train(ing)?[ _-]?)?(step|iter(ation)?|batch)\b[ _#:-]*\d*$", re.I
)
OPTIMIZER = re.compile(r"^Optimizer\.step#")
TRAINS = re.compile(r"Backward|^Optimizer\.step#|autograd::engine")
# Marks that follow each other this closely (share of a step) leave no time between steps that is
# worth a name.
CLOSE = 0.05
# A float64 of microseconds since 1970 holds times to a quarter of a microsecond; some writers cut
# to whole ones.
ROUNDING_NS = 1_000


@dataclass(frozen=True)
class Marks:
    """Begin and end of each step of one process in ns, the thread they were seen on (-1: none),
    what they come from; how many more overlap these.
    """

    begin: Ints
    end: Ints
    tid: int
    source: str
    left_out: int = 0


def traced_steps(trace: Trace) -> pd.DataFrame:
    """The steps of every process with a time budget, as `steps` gives them for recordings of our
    own (`cut` is 0).
    """
    parts = [
        _framed(trace, unit, marks)
        for unit, marks in trace.fact(step_marks)
        if marks is not None and len(marks.begin)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def step_marks(trace: Trace) -> list[tuple[Unit, Marks | None]]:
    """The first unit of each process with its marks; None where nothing repeats."""
    seen: set[int] = set()
    found = []
    for unit in units(trace):
        if unit.process not in seen:
            seen.add(unit.process)
            found.append((unit, _marks(trace, unit)))
    return found


def _marks(trace: Trace, unit: Unit) -> Marks | None:
    ranges = table(trace, "ranges")
    own = None if ranges is None else ranges[column(ranges, "process") == unit.process]
    marked = of_category(own, "step")
    if marked is not None and len(marked):
        return _from_ranges(marked, "the profiler's step marks")
    named = _of_names(of_category(own, "annotation", "nvtx"), STEP_NAME)
    if named is not None:
        return _from_ranges(named, f"the ranges called {named['name'].iloc[0]}")
    updates = _of_names(of_category(own, "annotation", "nvtx", "optimizer"), OPTIMIZER)
    if updates is not None:
        ends = np.sort(column(updates, "ts") + column(updates, "dur"))
        return Marks(ends[:-1], ends[1:], int(updates["tid"].iloc[0]), "the optimizer's steps")
    starts, what = period_starts(trace, unit)
    return (
        Marks(starts[:-1], starts[1:], -1, f"the period of the {what}")
        if len(starts) > FEWEST_MARKS
        else None
    )


def _of_names(ranges: pd.DataFrame | None, pattern: re.Pattern[str]) -> pd.DataFrame | None:
    """The ranges of the one name (numbers aside) on the one thread that covers most time and comes
    often enough.
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


def _from_ranges(ranges: pd.DataFrame, source: str) -> Marks:
    """Ranges that are steps; a short pause behind one belongs to it. Of nested or overlapping ones
    the outer count.
    """
    rows = ranges.sort_values("ts", kind="stable")
    apart = _apart(rows)
    if not apart.all() and rows["tid"].nunique() > 1:
        # Several threads mark the same steps: one of them tells.
        rows = rows[rows["tid"] == rows["tid"].mode().iloc[0]]
        apart = _apart(rows)
    begin, end = column(rows, "ts")[apart], (column(rows, "ts") + column(rows, "dur"))[apart]
    follows = np.append(begin[1:], end[-1:])
    close = (follows - end >= 0) & (follows - end <= CLOSE * (end - begin))
    return Marks(
        begin,
        np.where(close, follows, np.minimum(end, follows)),
        int(rows["tid"].iloc[0]),
        source,
        int((~apart).sum()),
    )


def _apart(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which ranges (in the order of time) begin when all before have ended. Marks that follow each
    other at once may overlap by what times are rounded to, or by what leaving one step and entering
    the next takes.
    """
    begin, dur = column(rows, "ts"), column(rows, "dur")
    before = np.concatenate((begin[:1], np.maximum.accumulate(begin + dur)[:-1]))
    apart: NDArray[np.bool_] = begin >= before - np.maximum(CLOSE * dur, ROUNDING_NS)
    return apart


def _framed(trace: Trace, unit: Unit, marks: Marks) -> pd.DataFrame:
    dur = marks.end - marks.begin
    warm = warm_up(dur, np.zeros(len(dur), bool))
    phase = "train" if _trains(trace, unit.process) else "inference"
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


def _trains(trace: Trace, process: int) -> bool:
    """Is there a backward pass or an optimizer?"""
    for name in ("ops", "ranges"):
        frame = table(trace, name)
        if frame is not None:
            names = (
                frame.loc[column(frame, "process") == process, "name"]
                .cat.remove_unused_categories()
                .cat.categories
            )
            if any(TRAINS.search(one) for one in names):
                return True
    return False
