"""How long the recording is, and its steps."""

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.diagnosis import StepSummary
from perfscope.analyzer.run.host_load import window
from perfscope.analyzer.run.steps import steady
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.trace_steps import Marks, step_marks
from perfscope.analyzer.run.units import Unit
from perfscope.traces.trace import Trace


def step_summary(trace: Trace, process: int | None) -> StepSummary:
    """Steady steps of the critical rank, ms; of the first rank when there are too few to choose
    one.
    """
    frame = trace.fact(time_budget)
    rows = steady(frame)
    code = process if process is not None else (int(rows["process"].iloc[0]) if len(rows) else None)
    own = rows[rows["process"] == code]["dur"] / 1e6
    source = next(
        (marks.source for unit, marks in marks_of(trace) if unit.process == code and marks), None
    )
    distorted = int(frame["distorted"].sum()) if len(frame) else 0
    if not len(own):
        return StepSummary(0, None, None, None, distorted)
    return StepSummary(
        len(own),
        round(float(own.mean()), 4),
        round(float(own.quantile(0.5)), 4),
        round(float(own.quantile(0.95)), 4),
        distorted,
        source,
    )


def marks_of(trace: Trace) -> list[tuple[Unit, Marks | None]]:
    """What the steps of a recorded trace were told from, by process; nothing for recordings of our
    own.
    """
    return trace.fact(step_marks) if trace.has_profiled_work else []


def steps_left_out(trace: Trace) -> list[str]:
    """A line on marks of steps that count as none, because they overlap others by more than a
    little.
    """
    count = sum(marks.left_out for _, marks in marks_of(trace) if marks is not None)
    return [f"{count} marks of steps left out: they overlap others"] if count else []


def span_s(trace: Trace) -> float:
    """Seconds from the first to the last thing recorded."""
    if trace.has_profiled_work:
        return (trace.span_ns[1] - trace.span_ns[0]) / 1e9
    bounds: list[tuple[int, int]] = []
    for name in ("loader", "ranges", "thread_states", "counters", "stacks"):
        frame = table(trace, name)
        if frame is not None and len(frame):
            ts = column(frame, "ts")
            last = ts + (column(frame, "dur") if "dur" in frame else 0)
            bounds.append((int(ts.min()), int(last.max())))
    if not bounds:
        begin, end = window(trace)
        return (end - begin) / 1e9
    return round((max(end for _, end in bounds) - min(begin for begin, _ in bounds)) / 1e9, 3)
