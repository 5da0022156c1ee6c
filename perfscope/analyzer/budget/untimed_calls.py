"""What a loop's thread does outside of the calls that the probe times, by a profiling window on a
device.

In a program that torch compiled the probe does not time copies and reads of results. Between two
calls of the model they look like code that loads data: the host waits there, or runs.
"""

from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.cpu_work import call_spans
from perfscope.analyzer.run.accelerators.host_copies import host_copies
from perfscope.analyzer.run.table_access import recording_of, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import TORCH, spans_of
from perfscope.traces.intervals import Ints, intersected, length_ns, merged, subtracted
from perfscope.traces.trace import Trace

TIMED: Final = (*TORCH, "checkpoint", "gc", "compilation", "sync")
"""Calls that the probe times, besides the loader and copies."""


def share_of_untimed_calls(window: Trace, process: int, tids: Ints) -> float | None:
    """Return the share of the time outside of timed calls in which a thread of the loop (`tids`)
    calls operators or waits for the device, 0 to 1; None where there is no such time.
    """

    def of_loop(frame: pd.DataFrame | None) -> pd.DataFrame | None:
        return None if frame is None else frame[frame["tid"].isin(tids)]

    ops, ranges = (of_loop(rows_of(window, name, process)) for name in ("ops", "ranges"))
    if ops is None:
        return None
    recording = window.fact(recording_of)
    copies = None if recording is None else of_loop(host_copies(recording, process))
    loader = spans_of(of_loop(rows_of(window, "loader", process)))
    timed = merged(loader, spans_of(copies), spans_of(rows_of_category(ranges, *TIMED)))
    begin_ns, end_ns = (np.array([at], np.int64) for at in window.span_ns)
    outside = subtracted((begin_ns, end_ns), timed)
    calls = merged(call_spans(ops), spans_of(of_loop(rows_of(window, "launches", process))))
    whole_ns = length_ns(outside)
    return length_ns(intersected(outside, calls)) / whole_ns if whole_ns else None
