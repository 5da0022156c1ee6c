"""Compiled functions that torch.compile compiles again and again, by the calls that it compiled in.

A call of compiled code is a range `forward` of the thread, and what it compiles is inside of it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.phases import NOT_RECORDED, phase_spans
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import busiest_tid
from perfscope.traces.intervals import Ints, Spans, length_ns, merged
from perfscope.traces.trace import Trace

FEWEST_CALLS = 6
"""Calls that compile. The first calls of a function compile it for other sizes, for sizes that
change, without gradients and in evaluation mode: up to four times.
"""
PARTS = 3
"""The recording is divided into this many parts, and each must have such calls."""
LEAST_OF_USUAL = 0.5
"""The last part has at least this share of the usual number of such calls: they do not fade out."""
FEWEST_INTERVALS = 3
"""Stretches between training steps in which something was compiled, where steps are known."""
BY_DEFAULT = 8
"""How often torch compiles a function before it gives up (`recompile_limit`, torch 2.0 to 2.13): a
function that was compiled more often has a raised limit.
"""
NO_NAME = "compilation"
"""The name of a compilation where the compiled function is not known."""


@dataclass(frozen=True)
class Recompilations:
    """What one process compiles again while it runs; times in ns."""

    process: int
    tid: int
    name: str
    """The compiled function or module, as the call names it."""
    functions: list[str]
    """Frames that were compiled (`function (file:line)`), most often first; empty where unknown."""
    calls: int
    """Calls of it that compiled something."""
    all_calls: int
    """All calls of it."""
    earlier: int
    """How often a frame of it had been compiled before the last time, -1 unknown."""
    compiled: Spans
    """The compilations after the first of these calls."""
    called_ns: int
    """The time in all calls of it, compilations included."""
    recorded_ns: int
    guards: dict[str, int]
    """Checks that failed, and how often."""

    @property
    def lost_ns(self) -> int:
        """The time in these compilations."""
        return length_ns(self.compiled)

    @property
    def share(self) -> float:
        """Their share of the recorded time."""
        return min(self.lost_ns / max(self.recorded_ns, 1), 1.0)

    @property
    def called_share(self) -> float:
        """The share of the recorded time in calls of it, compilations included."""
        return min(max(self.called_ns, self.lost_ns) / max(self.recorded_ns, 1), 1.0)


def recompilations(trace: Trace, process: int) -> Recompilations | None:
    """Return what a process compiles again and again, None where that was not seen."""
    ranges = rows_of(trace, "ranges", process)
    compiled = rows_of_category(ranges, "compilation")
    tid = busiest_tid(column(compiled, "tid"))
    if ranges is None or compiled is None or tid < 0:
        return None
    compiled = compiled[compiled["tid"] == tid]
    calls = ranges[(ranges["tid"] == tid) & (ranges["category"] == "forward")]
    caller = calls_around(calls, compiled)
    objects = column(calls, "object")
    phases = phase_spans(trace, process)
    begin_ns, end_ns = recorded_span_ns(trace)
    window = (begin_ns + phases.duration_ns(NOT_RECORDED), end_ns)
    marks = progress_marks(trace, ranges, process)
    for code in by_frequency(objects[np.unique(caller[caller >= 0])]):
        compiling = np.unique(caller[caller >= 0])
        compiling = compiling[objects[compiling] == code]
        rows = compiled[np.isin(caller, compiling)]
        at_ns = column(calls, "ts")[compiling]
        if not keeps_compiling(at_ns, column(rows, "value"), marks, window):
            continue
        first_end_ns = int((column(calls, "ts") + column(calls, "dur"))[compiling[0]])
        later = compiled[column(compiled, "ts") >= first_end_ns]
        starts = column(later, "ts")
        return Recompilations(
            process=process,
            tid=tid,
            name=str(calls["name"].iloc[int(compiling[0])]),
            functions=most_frequent(rows["name"], without=NO_NAME),
            calls=len(compiling),
            all_calls=int((objects == code).sum()),
            earlier=int(column(rows, "value").max()),
            compiled=merged((starts, starts + column(later, "dur"))),
            called_ns=int(column(calls, "dur")[objects == code].sum()),
            recorded_ns=window[1] - window[0],
            guards=counted(later["label"]),
        )
    return None


def calls_around(calls: pd.DataFrame, compiled: pd.DataFrame) -> Ints:
    """Return the position of the call that each compilation is in, -1 where no call is known."""
    begin_ns, end_ns = column(calls, "ts"), column(calls, "ts") + column(calls, "dur")
    at_ns = column(compiled, "ts")
    place = np.searchsorted(begin_ns, at_ns, side="right") - 1
    if not len(calls):
        return np.full(len(compiled), -1, np.int64)
    is_inside = (place >= 0) & (at_ns <= end_ns[np.maximum(place, 0)])
    return np.where(is_inside, place, -1)


def progress_marks(trace: Trace, ranges: pd.DataFrame, process: int) -> Ints:
    """Return instants of backward passes and optimizer steps, timed or sampled from outside.

    While it compiles, a program is not patched: then only samples show its steps.
    """
    timed = column(rows_of_category(ranges, "backward", "optimizer", "scaler"), "ts")
    stacks = rows_of(trace, "outside_stacks", process)
    if stacks is None:
        return timed
    texts = stacks["stack"].cat.categories.astype(str)
    shown = [text for text in texts if is_progress(text)]
    sampled = column(stacks[stacks["stack"].isin(shown)], "ts")
    return np.sort(np.concatenate((timed, sampled)))


def is_progress(stack: str) -> bool:
    """Return whether a stack is in a backward pass or an optimizer step, and compiles nothing."""
    if "torch/_dynamo/convert_frame.py" in stack:
        return False
    return "(torch/autograd/graph.py:" in stack or "step (torch/optim/" in stack


def keeps_compiling(at_ns: Ints, earlier: Ints, marks: Ints, window: tuple[int, int]) -> bool:
    """Return whether calls at these instants show that a function is compiled again and again.

    `earlier` says how often their frames had been compiled before, -1 unknown.
    """
    if len(at_ns) >= 2 and len(earlier) and int(earlier.max()) > BY_DEFAULT:
        return True
    if len(at_ns) < FEWEST_CALLS:
        return False
    edges = np.linspace(window[0], window[1], PARTS + 1)
    counts, _ = np.histogram(at_ns, edges)
    if not counts.all() or counts[-1] < LEAST_OF_USUAL * len(at_ns) / PARTS:
        return False
    intervals = np.unique(np.searchsorted(marks, at_ns))
    return not len(marks) or len(intervals) >= FEWEST_INTERVALS


def by_frequency(values: Ints) -> list[int]:
    """Return the different values, the most frequent first."""
    found, counts = np.unique(values, return_counts=True)
    return [int(found[at]) for at in np.argsort(-counts, kind="stable")]


def counted(names: "pd.Series[str]") -> dict[str, int]:
    """Return the names with their numbers, most frequent first."""
    counts = names.dropna().astype(str).value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def most_frequent(names: "pd.Series[str]", *, without: str) -> list[str]:
    """Return the different names, most frequent first, without one of them."""
    return [name for name in counted(names) if name != without]
