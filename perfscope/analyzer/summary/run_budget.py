"""The phases of the whole recording, seen from the critical process."""

from perfscope.analyzer.diagnosis import RunPhase
from perfscope.analyzer.run.phases.phase_intervals import PHASES, phase_spans
from perfscope.analyzer.run.recorded_span import recorded_span_ns
from perfscope.traces.trace import Trace


def span_s(trace: Trace) -> float:
    """Return the seconds from the first to the last instant that the recording covers."""
    begin_ns, end_ns = recorded_span_ns(trace)
    seconds = (end_ns - begin_ns) / 1e9
    return seconds if trace.has_profiled_work else round(seconds, 3)


def run_budget(trace: Trace, process: int | None) -> list[RunPhase]:
    """Return the phases of `process`; they exclude each other and sum to the span.

    Empty where no process is known.
    """
    begin_ns, end_ns = recorded_span_ns(trace)
    if process is None or end_ns <= begin_ns:
        return []
    phases = phase_spans(trace, process)
    span_ns = end_ns - begin_ns
    durations = {phase: phases.duration_ns(phase) for phase in PHASES}
    return [
        RunPhase(phase, ns / 1e9, ns / span_ns, process)
        for phase, ns in durations.items()
        if ns > 0
    ]
