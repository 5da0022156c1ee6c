"""Where there is no accelerator: operators compute on the threads that dispatch them."""

import numpy as np
import pandas as pd

from perfscope.analyzer.facts.device.next_work import busiest_tid
from perfscope.analyzer.facts.device.thread_work import thread_work
from perfscope.analyzer.facts.device.units import Unit
from perfscope.analyzer.facts.rows import column, table
from perfscope.traces.intervals import Ints, Spans, merged
from perfscope.traces.trace import Trace

VIEWS = ("aten::view", "aten::as_strided", "aten::t", "aten::transpose", "aten::detach", "aten::alias", "aten::expand")
"""Operators that touch no data: what they take is the price of dispatching one operator (profiled)."""
DATALESS = (
    *VIEWS,
    "aten::resolve_conj",
    "aten::resolve_neg",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::unsqueeze",
    "aten::squeeze",
    "aten::permute",
    "aten::select",
    "aten::slice",
    "aten::narrow",
    "aten::set_",
    "aten::_unsafe_view",
    "aten::_reshape_alias",
    "detach",
)
"""These too: a product that only asks for its operands' conjugates computes itself, nobody below it does."""
FEWEST_VIEWS = 10
DISPATCH_NS = 1_000
"""Where a trace has too few of them: the price on current CPUs."""


def cpu_kinds(trace: Trace, unit: Unit) -> list[tuple[str, Spans]]:
    """Categories of a process without an accelerator, the first that covers an instant has it.

    `device_compute` is the time inside operators that call no other that works on data, on any thread, less what
    dispatching one costs; `host_bound` is the rest of what the loop's thread does. Where kernels were launched and none is in
    the trace, what the device did is not known: then these are `compute_or_host`.
    """
    ops = table(trace, "ops")
    own = None if ops is None else ops[column(ops, "process") == unit.process]
    tid = busiest_tid(column(own, "tid"))
    work = thread_work(trace, unit.process, tid)
    since = unit.begin_ns if work.first_ns is None else work.first_ns
    loop = merged((np.array([since]), np.array([unit.end_ns])))
    known = [("profiler_overhead", work.overhead), ("checkpoint", work.checkpoint), ("input_wait", work.loading)]
    if _launches_kernels(trace, unit):
        return [*known, ("sync_wait", merged((work.waits.begin, work.waits.end))), ("compute_or_host", loop)]
    return [*known, ("device_compute", _computing(own)), ("host_bound", loop)]


def _launches_kernels(trace: Trace, unit: Unit) -> bool:
    calls = table(trace, "launches")
    return calls is not None and bool(((calls["process"] == unit.process) & (calls["kind"] == "kernel")).any())


def _computing(ops: pd.DataFrame | None) -> Spans:
    if ops is None or not len(ops):
        return merged()
    rows, parent, dur = ops.index.to_numpy(np.int64), column(ops, "parent"), column(ops, "dur")
    idle = ops["name"].isin(DATALESS).to_numpy()
    calls_work = np.isin(rows, parent[~idle])
    working = ~idle & ~calls_work
    # what its calls without work took: pandas sums them by the row of the operator around them
    inner = pd.Series(dur[idle]).groupby(parent[idle]).sum().reindex(rows[working], fill_value=0).to_numpy(np.int64)
    ts, dur = column(ops, "ts")[working], dur[working]
    start: Ints = ts + np.minimum(dur, dispatch_ns(ops) + inner)
    return merged((start, ts + dur))


def dispatch_ns(ops: pd.DataFrame) -> int:
    """What dispatching one operator costs in this trace, ns: the median of operators that touch no data."""
    views = column(ops[ops["name"].isin(VIEWS)], "dur")
    return int(np.median(views)) if len(views) >= FEWEST_VIEWS else DISPATCH_NS
