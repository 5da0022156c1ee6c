"""What a window of torch's profiler says of a process without an accelerator: how much of its time
goes into operators.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.budget.cpu_work import called, cpu_kinds
from perfscope.analyzer.budget.idle_stretches import busiest_tid
from perfscope.analyzer.categories import DEVICE_COMPUTE, EXPOSED_COMMUNICATION, HOST_BOUND
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.table_access import column, of_category, rows_of, table, uses_device
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.analyzer.run.units import NO_DEVICE, Unit
from perfscope.traces.intervals import Ints, exclusive, merged
from perfscope.traces.trace import Trace

TORCH_CALLS = ("forward", "backward", "optimizer", "scaler")


@dataclass(frozen=True)
class ComputeShares:
    """Shares (0 to 1) of the loop's time in which operators compute, and of the rest in which it is
    in collectives or waits for them: inside forward, backward and optimizer, and outside.
    `other_calls`: outside, where the loop's thread calls operators.
    """

    torch: float
    other: float
    torch_talks: float = 0.0
    other_talks: float = 0.0
    other_calls: float = 0.0


def compute_shares(trace: Trace) -> dict[int, ComputeShares]:
    """By process code, over the whole steps of its windows, or over the windows where no whole step
    lies within one.

    A step without a single operator was over before the profiler recorded.

    Proportions only: inside a window everything takes longer. Nothing for a process that uses an
    accelerator.
    """
    windows, frame = table(trace, "windows"), trace.fact(steps)
    windows = None if windows is None else windows[windows["kept"]]
    if windows is None or not trace.has("ops") or uses_device(trace):
        return {}
    found: dict[int, ComputeShares] = {}
    for process in np.unique(column(windows, "process")):
        own = windows[windows["process"] == process]
        begin, end = column(own, "begin"), column(own, "end")
        rows = frame[frame["process"] == process]
        first, last = column(rows, "ts"), column(rows, "ts") + column(rows, "dur")
        inside = np.array(
            [bool(((begin <= a) & (b <= end)).any()) for a, b in zip(first, last, strict=True)],
            bool,
        )
        whole = inside & with_operators(trace, int(process), first, last)
        spans = (first[whole], last[whole]) if whole.any() else (begin, end)
        shares = _shares(trace, int(process), *spans)
        if shares is not None:
            found[int(process)] = shares
    return found


def with_operators(
    trace: Trace, process: int, begin: Ints, end: Ints
) -> "np.typing.NDArray[np.bool_]":
    """In which of these windows an operator was recorded: the profiler says that it is on before it
    records anything.
    """
    ts = np.sort(column(rows_of(trace, "ops", process), "ts"))
    found: np.typing.NDArray[np.bool_] = np.searchsorted(ts, end) > np.searchsorted(ts, begin)
    return found


def _shares(trace: Trace, process: int, begin: Ints, end: Ints) -> ComputeShares | None:
    kinds = dict(cpu_kinds(trace, Unit(process, NO_DEVICE, 0, int(begin.min()), int(end.max()))))
    if DEVICE_COMPUTE not in kinds:
        return None
    computing, talks, loop = (
        kinds.pop(one) for one in (DEVICE_COMPUTE, EXPOSED_COMMUNICATION, HOST_BOUND)
    )
    known = merged(*kinds.values())
    ops = rows_of(trace, "ops", process)
    calls = (
        merged()
        if ops is None
        else called(ops[column(ops, "tid") == busiest_tid(column(ops, "tid"))])
    )
    torch = spans_of(of_category(rows_of(trace, "ranges", process), *TORCH_CALLS))
    _, computes, talking = (
        int(each.sum()) for each in exclusive([known, computing, talks], begin, end)
    )
    _, inside, computes_outside, talks_outside = (
        int(each.sum()) for each in exclusive([known, torch, computing, talks], begin, end)
    )
    *_, calls_outside = (
        int(each.sum()) for each in exclusive([known, torch, talks, calls], begin, end)
    )
    if not computes:
        return None
    outside = int(np.sum(exclusive([known, loop], begin, end)[1])) - inside
    return ComputeShares(
        _ratio(computes - computes_outside, inside),
        _ratio(computes_outside, outside),
        _ratio(talking - talks_outside, inside),
        _ratio(talks_outside, outside),
        _ratio(calls_outside, outside),
    )


def _ratio(part: int, whole: int) -> float:
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
