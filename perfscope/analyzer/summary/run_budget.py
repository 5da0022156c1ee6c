"""The phases of the whole recording, seen from the critical process: steps, checkpoints, other."""

import numpy as np

from perfscope.analyzer.diagnosis import RunPhase
from perfscope.analyzer.run.host_load import window
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.traces.intervals import Spans, exclusive, merged
from perfscope.traces.trace import Trace

OWN_TABLES = ("loader", "ranges", "thread_states", "counters", "stacks")
"""Tables of perfscope's own recordings whose rows bound what was recorded."""


def recorded_span_ns(trace: Trace) -> tuple[int, int]:
    """Return the first and the last instant that the recording covers, in ns of its clock."""
    if trace.has_profiled_work:
        return trace.span_ns
    bounds: list[tuple[int, int]] = []
    for name in OWN_TABLES:
        frame = table(trace, name)
        if frame is not None and len(frame):
            begin_ns = column(frame, "ts")
            end_ns = begin_ns + (column(frame, "dur") if "dur" in frame else 0)
            bounds.append((int(begin_ns.min()), int(end_ns.max())))
    if not bounds:
        return window(trace)
    return min(begin for begin, _ in bounds), max(end for _, end in bounds)


def span_s(trace: Trace) -> float:
    """Return the seconds from the first to the last instant that the recording covers."""
    begin_ns, end_ns = recorded_span_ns(trace)
    seconds = (end_ns - begin_ns) / 1e9
    return seconds if trace.has_profiled_work else round(seconds, 3)


def run_budget(trace: Trace, process: int | None) -> list[RunPhase]:
    """Return the phases of `process`; they exclude each other and sum to the span.

    What happens inside a step belongs to `steps`. Empty where no process is known.
    """
    begin_ns, end_ns = recorded_span_ns(trace)
    if process is None or end_ns <= begin_ns:
        return []
    window_begin, window_end = np.array([begin_ns], np.int64), np.array([end_ns], np.int64)
    kinds = [step_spans(trace, process), checkpoint_spans(trace, process)]
    taken = [int(amount[0]) for amount in exclusive(kinds, window_begin, window_end)]
    span_ns = end_ns - begin_ns
    phases = {"checkpoint": taken[1], "steps": taken[0], "other": span_ns - sum(taken)}
    return [
        RunPhase(phase, ns / 1e9, ns / span_ns, process) for phase, ns in phases.items() if ns > 0
    ]


def step_spans(trace: Trace, process: int) -> Spans:
    """Return the time inside steps of `process`, without the evaluation between their parts."""
    rows = trace.fact(steps)
    rows = rows[rows["process"] == process]
    begin_ns = column(rows, "ts")
    return merged((begin_ns, begin_ns + column(rows, "dur")))


def checkpoint_spans(trace: Trace, process: int) -> Spans:
    """Return the time in which `process` writes checkpoints."""
    ranges = rows_of_category(rows_of(trace, "ranges", process), "checkpoint")
    if ranges is None:
        return merged()
    begin_ns = column(ranges, "ts")
    return merged((begin_ns, begin_ns + column(ranges, "dur")))
