"""What calling operators costs a run without an accelerator: dispatch, and Python around it."""

from dataclasses import dataclass

import pandas as pd

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.critical_rank import steps_of
from perfscope.analyzer.budget.loop.loop_time import loop_times
from perfscope.analyzer.categories import DEVICE_COMPUTE, HOST_BOUND
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import covered
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Dispatch:
    """Shares of a step, 0 to 1, that go into calling operators.

    `inside` of torch's calls (forward, backward, optimizer), and `outside`, where the program calls
    operators itself.
    """

    inside: float
    outside: float

    @property
    def total(self) -> float:
        """The share of both."""
        return self.inside + self.outside


def cpu_dispatch(trace: Trace, process: int) -> Dispatch:
    """Return the shares of the steady steps of a process.

    They are the host-bound time without garbage collections, waits for the GIL and for a core,
    without compilations and without code of the program that calls no operator.
    """
    rows = steps_of(trace, process)
    step = float(rows["dur"].mean())
    host = float((rows[HOST_BOUND] - rows["gc"] - rows["gil"]).mean())
    host = max(host - compilation_ns(trace, process, rows), 0.0)
    running = max(host + float(rows[DEVICE_COMPUTE].mean()), 1.0)
    host -= waiting_for_a_core(trace, process) * host / running
    total = host / step
    time = trace.fact(loop_times).get(process)
    window = trace.fact(compute_shares).get(process)
    if time is None or window is None:
        return Dispatch(total, 0.0)
    total = max(total - time.host_code_at_least, 0.0)
    outside = (time.operators or 0.0) - window.other * time.outside
    outside = min(max(outside, 0.0), total)
    return Dispatch(total - outside, outside)


def compilation_ns(trace: Trace, process: int, rows: pd.DataFrame) -> float:
    """Return the ns per step in which torch.compile compiles on the thread of the loop."""
    ranges = rows_of_category(rows_of(trace, "ranges", process), "compilation")
    if ranges is None or not len(ranges):
        return 0.0
    compiled = spans_of(ranges[ranges["tid"].isin(rows["tid"].unique())])
    begin_ns = column(rows, "ts")
    return float(covered(compiled, begin_ns, begin_ns + column(rows, "dur")).mean())


def waiting_for_a_core(trace: Trace, process: int) -> float:
    """Return the ns per step in which the loop's thread is ready to run and has no core.

    Computing and dispatching wait alike.
    """
    pipelines = trace.fact(input_pipelines)
    delays = (known.main_delay for known in pipelines if known.process == process)
    return next(delays, 0.0)
