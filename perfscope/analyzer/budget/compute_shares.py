"""The share of a process's time that its operators compute, from windows of torch's profiler.

For processes without an accelerator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.cpu_kinds import cpu_kinds
from perfscope.analyzer.budget.cpu_work import call_spans
from perfscope.analyzer.categories import DEVICE_COMPUTE, EXPOSED_COMMUNICATION, HOST_BOUND
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.phases.phase_intervals import VALIDATION, phase_spans
from perfscope.analyzer.run.table_access import (
    column,
    rows_of,
    rows_of_category,
    table,
    uses_device,
)
from perfscope.analyzer.run.thread_intervals import busiest_tid, spans_of
from perfscope.traces.intervals import Ints, Spans, exclusive, intersected, merged, subtracted
from perfscope.traces.trace import Trace

EVALUATION = "eval"
TORCH_CALLS = ("forward", "backward", "optimizer", "scaler")


@dataclass(frozen=True)
class ComputeShares:
    """Shares (0 to 1) of the loop's time, inside torch calls and outside of them.

    Torch calls are forward, backward and optimizer. `torch` and `other`: operators compute.
    `torch_communication` and `other_communication`: of the rest, the loop is in collectives or
    waits for them.
    `other_calls`: the loop's thread calls operators outside torch calls.
    """

    torch: float
    other: float
    torch_communication: float = 0.0
    other_communication: float = 0.0
    other_calls: float = 0.0


def compute_shares(trace: Trace) -> dict[int, ComputeShares]:
    """Return the shares by process code, over the whole steps inside its windows.

    Where no whole step is inside one, over the windows. A step without an operator ended before the
    profiler recorded. Validation is left out: it computes something else than a step. They are
    proportions only: inside a window everything takes longer. A process that uses an accelerator is
    left out.
    """
    windows = table(trace, "windows")
    if windows is None or not trace.has("ops") or uses_device(trace):
        return {}
    windows = windows[windows["kept"]]
    shares = {}
    for process in np.unique(column(windows, "process")):
        of_process = windows[windows["process"] == process]
        begin, end = column(of_process, "begin"), column(of_process, "end")
        first, last = whole_steps(trace, int(process), begin, end)
        spans = (first, last)
        if not len(first):
            validation = phase_spans(trace, int(process)).of(VALIDATION)
            spans = subtracted(merged((begin, end)), validation)
        if not len(spans[0]) or lacks_torch_calls(trace, int(process), spans):
            continue
        found = shares_within(trace, int(process), spans)
        if found is not None:
            shares[int(process)] = found
    return shares


def whole_steps(trace: Trace, process: int, begin: Ints, end: Ints) -> Spans:
    """Return the steps with operators that are within one of the windows [begin, end].

    Batches of an evaluation are not among them.
    """
    rows = trace.fact(steps)
    rows = rows[(rows["process"] == process) & (rows["phase"] != EVALUATION)]
    first, last = column(rows, "ts"), column(rows, "ts") + column(rows, "dur")
    within = (begin[None, :] <= first[:, None]) & (last[:, None] <= end[None, :])
    whole = within.any(axis=1) & with_operators(trace, process, first, last)
    return first[whole], last[whole]


def lacks_torch_calls(trace: Trace, process: int, spans: Spans) -> bool:
    """Return whether the loop calls the model or the optimizer, but never within `spans`.

    Operators there say nothing about what those calls compute.
    """
    calls = spans_of(rows_of_category(rows_of(trace, "ranges", process), *TORCH_CALLS))
    return len(calls[0]) > 0 and not len(intersected(calls, spans)[0])


def with_operators(trace: Trace, process: int, begin: Ints, end: Ints) -> NDArray[np.bool_]:
    """Return in which of these intervals an operator was recorded.

    The profiler reports that it is on before it records anything.
    """
    ts = np.sort(column(rows_of(trace, "ops", process), "ts"))
    found: NDArray[np.bool_] = np.searchsorted(ts, end) > np.searchsorted(ts, begin)
    return found


def shares_within(trace: Trace, process: int, spans: Spans) -> ComputeShares | None:
    """Return the shares of a process within these intervals, None where nothing computes."""
    begin, end = spans
    unit = Unit(process, NO_DEVICE, 0, int(begin.min()), int(end.max()))
    kinds = dict(cpu_kinds(trace, unit))
    if DEVICE_COMPUTE not in kinds:
        return None
    computing, communication = kinds.pop(DEVICE_COMPUTE), kinds.pop(EXPOSED_COMMUNICATION)
    loop = kinds.pop(HOST_BOUND)
    known = merged(*kinds.values())
    calls = operator_calls(trace, process)
    torch = spans_of(rows_of_category(rows_of(trace, "ranges", process), *TORCH_CALLS))

    def total_in(*sets: Spans) -> list[int]:
        """Return the time that each set adds to the ones before it and to `known`."""
        return [int(amount.sum()) for amount in exclusive([known, *sets], begin, end)[1:]]

    computes, communicates = total_in(computing, communication)
    in_torch, computes_outside, communicates_outside = total_in(torch, computing, communication)
    calls_outside = total_in(torch, communication, calls)[-1]
    if not computes:
        return None
    outside = total_in(loop)[0] - in_torch
    return ComputeShares(
        torch=ratio_of(computes - computes_outside, in_torch),
        other=ratio_of(computes_outside, outside),
        torch_communication=ratio_of(communicates - communicates_outside, in_torch),
        other_communication=ratio_of(communicates_outside, outside),
        other_calls=ratio_of(calls_outside, outside),
    )


def operator_calls(trace: Trace, process: int) -> Spans:
    """Return where the busiest thread of a process calls operators."""
    ops = rows_of(trace, "ops", process)
    if ops is None:
        return merged()
    tids = column(ops, "tid")
    return call_spans(ops[tids == busiest_tid(tids)])


def ratio_of(part: int, whole: int) -> float:
    """Return part / whole within 0 and 1, 0 without a whole."""
    return min(max(part / whole, 0.0), 1.0) if whole > 0 else 0.0
