"""What a loop's thread does between its iterations, by a profiling window on a device.

In a program that torch compiled the probe does not time copies and reads of results. Between two
calls of the model they look like code that loads data: the host waits there, or runs.
"""

from typing import Final

import pandas as pd

from perfscope.analyzer.budget.cpu_work import call_spans
from perfscope.analyzer.run.accelerators.host_copies import host_copies
from perfscope.analyzer.run.table_access import recording_of, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import TORCH, iteration_gaps, spans_of
from perfscope.traces.intervals import Ints, intersected, length_ns, merged, subtracted
from perfscope.traces.trace import Trace

TIMED: Final = ("checkpoint", "gc", "compilation", "sync")
"""Calls that the probe times, besides those of the model, the loader, and copies."""


def share_of_calls_in_gaps(window: Trace, process: int, tids: Ints) -> float:
    """Return the share of the gaps between iterations in which a thread of the loop (`tids`) calls
    operators or waits for the device, 0 to 1; 0 without gaps in the window.

    Calls that the probe times are no part of the gaps.
    """

    def of_loop(frame: pd.DataFrame | None) -> pd.DataFrame | None:
        return None if frame is None else frame[frame["tid"].isin(tids)]

    ops, ranges = (of_loop(rows_of(window, name, process)) for name in ("ops", "ranges"))
    if ops is None:
        return 0.0
    recording = window.fact(recording_of)
    copies = None if recording is None else of_loop(host_copies(recording, process))
    loader = spans_of(of_loop(rows_of(window, "loader", process)))
    timed = merged(loader, spans_of(copies), spans_of(rows_of_category(ranges, *TIMED)))
    gaps = iteration_gaps(rows_of_category(ranges, *TORCH), *window.span_ns)
    gaps = subtracted(gaps, timed)
    calls = merged(call_spans(ops), spans_of(of_loop(rows_of(window, "launches", process))))
    whole_ns = length_ns(gaps)
    return length_ns(intersected(gaps, calls)) / whole_ns if whole_ns else 0.0
