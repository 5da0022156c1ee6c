"""Functions that torch.compile compiles repeatedly, by the calls in which it does.

A call of compiled code is a range `forward` of the thread, and what it compiles is inside of it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.phases.phase_intervals import COMPILATION, NOT_RECORDED, phase_spans
from perfscope.analyzer.run.phases.sampled_phases import LIBRARY_FRAMES
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import busiest_tid
from perfscope.traces.intervals import Ints, Spans, length_ns, merged, single_interval, subtracted
from perfscope.traces.trace import Trace

FEWEST_CALLS = 6
"""Calls that compile. The first calls of a function compile it for other sizes, for sizes that
change, without gradients and in evaluation mode: up to four times.
"""
PARTS = 3
"""The recording is divided into this many parts, and each must have such calls."""
LEAST_OF_USUAL = 0.5
"""The last part has at least this share of the usual number of such calls: they do not fade out."""
MOST_OF_USUAL_GAP = 2
"""With few such calls, the recording ends at most this many of their gaps after the last."""
BY_DEFAULT = 8
"""How often torch compiles a function before it gives up (`recompile_limit`, torch 2.0 to 2.13): a
function that was compiled more often has a raised limit.
"""
LEAST_SAMPLED_NS = 30_000_000
"""Samples from outside belong to a call of at least this length: their times are exact only to
within tens of milliseconds.
"""
NO_NAME = "compilation"
"""The name of a compilation where the compiled function is not known."""


@dataclass(frozen=True)
class Recompilations:
    """What one process compiles again while it runs; times in ns."""

    process: int
    name: str
    """The compiled function or module, as the call names it."""
    functions: list[str]
    """Frames that were compiled (`function (file:line)`), most often first; empty where unknown."""
    calls: int
    """Calls of it that compiled something."""
    all_calls: int
    """All calls of it."""
    objects: int
    """How many different results of torch.compile these are that were called."""
    earlier: int
    """How often a frame of it had been compiled before the last time, -1 unknown."""
    compiled: Spans
    """The time in compilations, without the first of these calls where it may be the first."""
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


@dataclass(frozen=True)
class CallsOfCompiledCode:
    """The calls of compiled code of one thread, and its compilations."""

    rows: pd.DataFrame
    """Rows `forward` of the table `ranges`."""
    compiled: pd.DataFrame
    caller: Ints
    """The position in `rows` of the call that each compilation is in, -1 where unknown."""
    sampled: Spans
    """When stack samples outside of steps show a compilation, also one that was cut off."""
    marks: Ints
    """Instants of training steps."""
    window: tuple[int, int]
    """The recorded time of the process."""

    def groups(self) -> list[Ints]:
        """Return the calls that compile, by the compiled object, else by the compiled function.

        A function that is passed to torch.compile in each step is another object each time. So are
        the layers of a model that are compiled one by one: training steps in between show the
        difference. The largest group of objects is first.
        """
        compiling = np.unique(self.caller[self.caller >= 0])
        objects = column(self.rows, "object")[compiling]
        names = self.rows["name"].astype(str).to_numpy(object)[compiling]
        by_object = sorted((compiling[objects == code] for code in np.unique(objects)), key=len)
        by_function = [compiling[names == name] for name in dict.fromkeys(names)]
        at_ns = column(self.rows, "ts")
        separated = [
            calls
            for calls in by_function
            if ((self.marks > at_ns[calls[0]]) & (self.marks < at_ns[calls[-1]])).any()
        ]
        return by_object[::-1] + separated

    def of_group(self, calls: Ints) -> pd.DataFrame:
        """Return the compilations in these calls."""
        return self.compiled[np.isin(self.caller, calls)]


def recompilations(trace: Trace, process: int) -> Recompilations | None:
    """Return what a process compiles repeatedly, None where that was not seen."""
    calls = compiled_calls(trace, process)
    if calls is None:
        return None
    at_ns = column(calls.rows, "ts")
    for group in calls.groups():
        earlier = column(calls.of_group(group), "value")
        if keeps_compiling(at_ns[group], earlier, calls.marks, calls.window):
            return recompiled_group(process, calls, group)
    return None


def compiled_calls(trace: Trace, process: int) -> CallsOfCompiledCode | None:
    """Return the calls of compiled code of the thread that compiles most often, None for none."""
    ranges, samples = rows_of(trace, "ranges", process), compiling_samples(trace, process)
    timed = rows_of_category(ranges, "compilation")
    tid = busiest_tid(np.concatenate((column(timed, "tid"), column(samples, "tid"))))
    if ranges is None or timed is None or tid < 0:
        return None
    rows = ranges[(ranges["tid"] == tid) & (ranges["category"] == "forward")]
    compiled = with_sampled(timed[timed["tid"] == tid], samples[samples["tid"] == tid], rows)
    begin_ns, end_ns = recorded_span_ns(trace)
    phases = phase_spans(trace, process)
    return CallsOfCompiledCode(
        rows=rows,
        compiled=compiled,
        caller=calls_around(rows, column(compiled, "ts")),
        sampled=phases.of(COMPILATION),
        marks=progress_marks(trace, ranges, process),
        window=(begin_ns + phases.duration_ns(NOT_RECORDED), end_ns),
    )


def recompiled_group(process: int, calls: CallsOfCompiledCode, group: Ints) -> Recompilations:
    """Return what is known of a group of calls that compile repeatedly."""
    rows, compilations = calls.rows, calls.of_group(group)
    end_ns = column(rows, "ts") + column(rows, "dur")
    of_group = np.isin(column(rows, "object"), column(rows, "object")[group])
    starts = column(calls.compiled, "ts")
    timed = (starts, starts + column(calls.compiled, "dur"))
    compiled = merged(timed, calls.sampled)
    if column(compilations, "value")[0] <= 0:  # it may be the first compilation of all
        compiled = subtracted(compiled, single_interval(calls.window[0], int(end_ns[group[0]])))
    return Recompilations(
        process=process,
        name=str(rows["name"].iloc[int(group[0])]),
        functions=[name for name in number_of_each(compilations["name"]) if " (" in name],
        calls=len(group),
        all_calls=int(of_group.sum()),
        objects=len(np.unique(column(rows, "object")[group])),
        earlier=int(column(compilations, "value").max()),
        compiled=compiled,
        recorded_ns=calls.window[1] - calls.window[0],
        guards=number_of_each(compilations["label"]),
    )


def compiling_samples(trace: Trace, process: int) -> pd.DataFrame:
    """Return the stack samples from outside in which something is compiled."""
    stacks = rows_of(trace, "outside_stacks", process)
    if stacks is None:
        return pd.DataFrame({"tid": [], "ts": [], "weight_ns": []}, dtype="int64")
    texts = stacks["stack"].cat.categories.astype(str)
    shown = [text for text in texts if LIBRARY_FRAMES["compilation"].search(text)]
    return stacks[stacks["stack"].isin(shown)]


def with_sampled(timed: pd.DataFrame, samples: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """Return the timed compilations, and one for each other long call that samples show compiling.

    For a while after `torch.compiler.reset()` the probe is not called; old versions of torch never
    call it.
    The probe is not called for a while after `torch.compiler.reset()`, and not by old versions of
    torch.
    """
    caller = calls_around(calls, column(samples, "ts"))
    is_known = np.isin(caller, calls_around(calls, column(timed, "ts")))
    dur_ns, at_ns = column(calls, "dur"), column(calls, "ts")
    is_new = (caller >= 0) & ~is_known
    is_new &= dur_ns[np.maximum(caller, 0)] >= LEAST_SAMPLED_NS if len(calls) else False
    found, which = np.unique(caller[is_new], return_inverse=True)
    if not len(found):
        return timed
    sampled_ns = np.bincount(which, column(samples, "weight_ns")[is_new]).astype(np.int64)
    sampled = pd.DataFrame(
        {
            "tid": column(calls, "tid")[found],
            "ts": at_ns[found],
            "dur": np.minimum(sampled_ns, dur_ns[found]),
            "name": NO_NAME,
            "value": -1,
            "label": None,
        }
    )
    columns = list(sampled.columns)
    names = dict.fromkeys(("name", "label"), object)
    both = pd.concat([timed[columns].astype(names), sampled.astype(names)])
    return both.sort_values("ts", kind="stable", ignore_index=True)


def calls_around(calls: pd.DataFrame, at_ns: Ints) -> Ints:
    """Return the position of the call that each instant is in, -1 where no call is known."""
    begin_ns, end_ns = column(calls, "ts"), column(calls, "ts") + column(calls, "dur")
    place = np.searchsorted(begin_ns, at_ns, side="right") - 1
    if not len(calls):
        return np.full(len(at_ns), -1, np.int64)
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
    """Return whether calls at these instants show that a function is compiled repeatedly.

    `earlier` says how often their frames had been compiled before, -1 unknown. `marks` are instants
    of training steps: where the first comes after all these calls, they are calls of one step,
    unless a frame was compiled more often than that needs.
    """
    often = len(at_ns) >= 2 and len(earlier) > 0 and int(earlier.max()) > BY_DEFAULT
    if often and window[1] - at_ns[-1] <= MOST_OF_USUAL_GAP * int(np.diff(at_ns).max()):
        return True
    if len(at_ns) < FEWEST_CALLS:
        return False
    edges = np.linspace(window[0], window[1], PARTS + 1)
    counts, _ = np.histogram(at_ns, edges)
    if not counts.all() or counts[-1] < LEAST_OF_USUAL * len(at_ns) / PARTS:
        return False
    later = marks[marks > at_ns[0]]
    return not len(later) or bool(later[0] < at_ns[-1])


def number_of_each(names: "pd.Series[str]") -> dict[str, int]:
    """Return the names with their numbers, most frequent first."""
    counts = names.dropna().astype(str).value_counts()
    return {str(name): int(count) for name, count in counts.items()}
