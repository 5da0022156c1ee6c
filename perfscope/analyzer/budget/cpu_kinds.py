"""The categories of the time budget for a process without an accelerator."""

import numpy as np

from perfscope.analyzer.budget.cpu_communication import collectives_run, communication_spans
from perfscope.analyzer.budget.process_computing import computing_of
from perfscope.analyzer.budget.thread_work import thread_work
from perfscope.analyzer.categories import (
    CHECKPOINT,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    HOST_BOUND,
    INPUT_WAIT,
    PROFILER_OVERHEAD,
    SYNC_WAIT,
)
from perfscope.analyzer.run.budget_units import Unit, launches_kernels
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.analyzer.run.thread_intervals import busiest_tid
from perfscope.traces.intervals import Spans, merged
from perfscope.traces.trace import Trace


def cpu_kinds(trace: Trace, unit: Unit) -> list[tuple[str, Spans]]:
    """Return categories of a process without an accelerator, in order of precedence.

    `device-compute` is the self time of operators on any thread, less the cost of dispatching each;
    `exposed-communication` what the loop's thread spends in collectives and waits for them;
    `host-bound` is the rest of what it does. Where kernels were launched and none is in the trace,
    what the device did is not known: then these are `compute-or-host`.
    """
    ops = table_rows(trace, "ops", unit.process)
    tid = busiest_tid(column(ops, "tid"))
    work = trace.fact(thread_work, unit.process, tid)
    since = unit.begin_ns if work.first_ns is None else work.first_ns
    loop = merged((np.array([since]), np.array([unit.end_ns])))
    known = [
        (PROFILER_OVERHEAD, work.overhead),
        (CHECKPOINT, work.checkpoint),
        (INPUT_WAIT, work.loading),
    ]
    if launches_kernels(trace, unit.process):
        waits = merged((work.waits.begin, work.waits.end))
        return [*known, (SYNC_WAIT, waits), (COMPUTE_OR_HOST, loop)]
    computes, communicates = computing_of(trace, unit.process), merged()
    if ops is not None and computes.has_collectives:
        runs = collectives_run(rows_of(trace, "ranges", unit.process))
        communicates = communication_spans(ops[column(ops, "tid") == tid], runs)
    return [
        *known,
        (DEVICE_COMPUTE, computes.spans),
        (EXPOSED_COMMUNICATION, communicates),
        (HOST_BOUND, loop),
    ]
