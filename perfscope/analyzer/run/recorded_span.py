"""The first and the last instant that a recording covers."""

from perfscope.analyzer.run.resources.host_load import window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

RECORDED_TABLES = (
    "loader",
    "ranges",
    "thread_states",
    "counters",
    "stacks",
    "engine_metrics",
    "requests",
)
"""Tables of perfscope's own recordings whose rows bound what was recorded."""


def recorded_span_ns(trace: Trace) -> tuple[int, int]:
    """Return the first and the last instant that the recording covers, in ns of its clock."""
    if trace.has_profiled_work:
        return trace.span_ns
    bounds: list[tuple[int, int]] = []
    for name in RECORDED_TABLES:
        frame = table(trace, name)
        if frame is not None and len(frame):
            begin_ns = column(frame, "ts")
            end_ns = begin_ns + (column(frame, "dur") if "dur" in frame else 0)
            bounds.append((int(begin_ns.min()), int(end_ns.max())))
    if not bounds:
        return window(trace)
    return min(begin for begin, _ in bounds), max(end for _, end in bounds)
