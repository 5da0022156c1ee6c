"""Phases that only stack samples show: what ran outside of steps and timed calls."""

from perfscope.traces.intervals import Spans
from perfscope.traces.trace import Trace


def sampled_phases(
    trace: Trace, process: int, tid: int, known: dict[str, Spans]
) -> dict[str, Spans]:
    """Return the intervals of stack samples by the phase that their frames show."""
    return {}
