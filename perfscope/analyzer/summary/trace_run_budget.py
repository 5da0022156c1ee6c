"""The phases of the whole span of a profiler's trace, seen from the critical process."""

from perfscope.analyzer.diagnosis import RunPhase
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.phases.phase_intervals import (
    CHECKPOINT,
    NOT_RECORDED,
    OTHER,
    STEPS,
    spans_of_rows,
)
from perfscope.analyzer.run.table_access import rows_of, rows_of_category
from perfscope.traces.intervals import EMPTY, Spans, exclusive, merged, single_interval, subtracted
from perfscope.traces.trace import Trace


def trace_run_budget(trace: Trace, process: int | None) -> list[RunPhase]:
    """Return the phases of `process`; they exclude each other and sum to the span of the trace.

    `not-recorded` is before the first and after the last work of its device, and where kernels were
    lost: what the device did then is not known. Empty where no process is known.
    """
    begin_ns, end_ns = trace.span_ns
    if process is None or end_ns <= begin_ns:
        return []
    whole = single_interval(begin_ns, end_ns)
    all_steps = trace.fact(steps)
    checkpoints = rows_of_category(rows_of(trace, "ranges", process), "checkpoint")
    phases = {
        NOT_RECORDED: not_recorded(trace, process),
        CHECKPOINT: spans_of_rows(checkpoints),
        STEPS: spans_of_rows(all_steps[all_steps["process"] == process]),
        OTHER: whole,
    }
    amounts_ns = exclusive(list(phases.values()), *whole)
    taken = zip(phases, (int(amount[0]) for amount in amounts_ns), strict=True)
    span_ns = end_ns - begin_ns
    return [RunPhase(phase, ns / 1e9, ns / span_ns, process) for phase, ns in taken if ns > 0]


def not_recorded(trace: Trace, process: int) -> Spans:
    """Return when no device of a process does work that is known."""
    known = [observed_time(trace, unit).spans for unit in units(trace) if unit.process == process]
    return subtracted(single_interval(*trace.span_ns), merged(*known)) if known else EMPTY
