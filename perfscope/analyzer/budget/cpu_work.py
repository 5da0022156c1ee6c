"""Where there is no accelerator: operators compute on the threads that dispatch them."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.cpu_communication import (
    COLLECTIVE,
    collectives_run,
    communication,
    said,
)
from perfscope.analyzer.budget.idle_stretches import busiest_tid
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
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.analyzer.run.units import Unit, launches_kernels
from perfscope.traces.intervals import Ints, Spans, merged
from perfscope.traces.trace import Trace

VIEWS = (
    "aten::view",
    "aten::as_strided",
    "aten::t",
    "aten::transpose",
    "aten::detach",
    "aten::alias",
    "aten::expand",
)
"""Operators that touch no data: what they take is the price of dispatching one operator (profiled).
"""
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
    "aten::as_strided_",
    "aten::resize_",
    "aten::resize_as_",
    "aten::squeeze_",
    "aten::unsqueeze_",
    "aten::result_type",
    "aten::real",
    "detach",
)
"""These too."""
HELPERS = (
    *DATALESS,
    "aten::to",
    "aten::_to_copy",
    "aten::type_as",
    "aten::copy_",
    "aten::clone",
    "aten::contiguous",
    "aten::expand_as",
    "aten::reshape",
    "aten::fill_",
    "aten::zero_",
    "aten::zeros",
    "aten::zeros_like",
    "aten::arange",
)
"""What an operator calls to prepare: one that calls nothing else computes itself, one that calls
others passes on. (A product with a Python number makes a tensor of the number first, by
`aten::to`.)
"""
COMPUTES = (
    "aten::mkldnn_convolution",
    "aten::convolution_backward",
    "aten::_slow_conv2d_backward",
    "aten::mkldnn_rnn_layer",
    "aten::mkldnn_rnn_layer_backward",
    "aten::native_batch_norm_backward",
    "aten::linalg_lu_solve",
    "aten::sort",
)
"""These compute in all their own time, whatever they call: the backward of a convolution is two
products with calls between, an LSTM adds its biases first.
"""
OPERATOR = "aten::"
FAR_ABOVE_DISPATCH_NS = 50_000
FEWEST_VIEWS = 10
DISPATCH_NS = 1_000
"""Where a trace has too few of them: the price on current CPUs."""


def cpu_kinds(trace: Trace, unit: Unit) -> list[tuple[str, Spans]]:
    """Categories of a process without an accelerator, the first that covers an instant has it.

    `device-compute` is the time that operators spend themselves, not in those they call, on any
    thread, less what dispatching one costs; `exposed-communication` what the loop's thread spends
    in collectives and waits for them; `host-bound` is the rest of what it does. Where kernels were
    launched and none is in the trace, what the device did is not known: then these are
    `compute-or-host`.
    """
    ops = table(trace, "ops")
    own = None if ops is None else ops[column(ops, "process") == unit.process]
    tid = busiest_tid(column(own, "tid"))
    work = thread_work(trace, unit.process, tid)
    since = unit.begin_ns if work.first_ns is None else work.first_ns
    loop = merged((np.array([since]), np.array([unit.end_ns])))
    known = [
        (PROFILER_OVERHEAD, work.overhead),
        (CHECKPOINT, work.checkpoint),
        (INPUT_WAIT, work.loading),
    ]
    if launches_kernels(trace, unit.process):
        return [
            *known,
            (SYNC_WAIT, merged((work.waits.begin, work.waits.end))),
            (COMPUTE_OR_HOST, loop),
        ]
    runs = collectives_run(rows_of(trace, "ranges", unit.process))
    talks = merged() if own is None else communication(own[column(own, "tid") == tid], runs)
    return [
        *known,
        (DEVICE_COMPUTE, _computing(own)),
        (EXPOSED_COMMUNICATION, talks),
        (HOST_BOUND, loop),
    ]


def _computing(ops: pd.DataFrame | None) -> Spans:
    if ops is None or not len(ops):
        return merged()
    begin, end, row = computing(ops)
    works = ~said(ops, lambda name: name.startswith(COLLECTIVE))[row]
    return merged((begin[works], end[works]))


def call_spans(ops: pd.DataFrame) -> Spans:
    """Where one thread calls operators: they, and what lies between two that follow each other as
    fast as calling them goes.
    """
    order = np.argsort(column(ops, "ts"), kind="stable")
    first, reach = (
        column(ops, "ts")[order],
        np.maximum.accumulate((column(ops, "ts") + column(ops, "dur"))[order]),
    )
    if not len(first):
        return merged()
    apart = first[1:] - reach[:-1] > FAR_ABOVE_DISPATCH_NS
    return first[np.append(True, apart)], reach[np.append(apart, True)]


def computing(ops: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    """Begin, end and place in `ops` (of one process) of what operators compute themselves, less
    what dispatching one costs.
    """
    works = ~ops["name"].isin(DATALESS).to_numpy()
    begin, end, row = _own_time(ops)
    keep = works[row]
    start: Ints = np.minimum(begin + dispatch_ns(ops), end)
    return start[keep], end[keep], row[keep]


def _own_time(ops: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    """Begin, end and place in `ops` of the time that each operator spends itself: the whole of one
    that calls none, else the longest stretch between its calls (a product first asks for its
    operands, copies a bias, then multiplies). Of one that calls more than helpers, nothing: it
    passes on, unless that stretch is far above dispatching and longer than what it calls. Of those
    known to compute between all their calls: each stretch.
    """
    place = np.arange(len(ops))
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    parent = _places(ops.index.to_numpy(np.int64), column(ops, "parent"))
    child = np.flatnonzero(parent >= 0)
    child = child[np.lexsort((first[child], parent[child]))]
    of = parent[child]
    opens = np.append(True, of[1:] != of[:-1]) if len(of) else np.empty(0, bool)
    closes = np.append(opens[1:], True) if len(of) else np.empty(0, bool)
    before = np.where(opens, first[of], np.append(0, last[child][:-1]) if len(of) else of)
    helps = ops["name"].isin(HELPERS).to_numpy()[child]
    called = np.bincount(of[~helps], (last - first)[child][~helps], len(ops))
    passes = np.bincount(of[~helps], minlength=len(ops)) > 0
    computes = ops["name"].isin(COMPUTES).to_numpy()
    passes &= ~computes
    leaf = np.ones(len(ops), bool)
    leaf[of] = False
    begin = np.concatenate((first[leaf], before, last[child][closes]))
    end = np.concatenate((last[leaf], first[child], last[of[closes]]))
    owner = np.concatenate((place[leaf], of, of[closes]))
    order = np.lexsort((begin - end, owner))
    kept = order[
        np.append(True, owner[order][1:] != owner[order][:-1])[: len(order)]
        | computes[owner[order]]
    ]
    own = (end - begin)[kept]
    torch = said(ops, lambda name: name.startswith(OPERATOR))[owner[kept]]
    passes_on = passes[owner[kept]] & ~(
        torch & (own >= FAR_ABOVE_DISPATCH_NS) & (own > called[owner[kept]])
    )
    kept = kept[(leaf[owner[kept]] | ~passes_on) & (own > 0)]
    return begin[kept], end[kept], owner[kept]


def _places(rows: Ints, wanted: Ints) -> Ints:
    """Where each wanted row stands among `rows` (in order), -1 for one that is not there."""
    at = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    found: Ints = np.where(rows[at] == wanted, at, -1)
    return found


def dispatch_ns(ops: pd.DataFrame) -> int:
    """What dispatching one operator costs in this trace, ns: the median of operators that touch no
    data.
    """
    views = column(ops[ops["name"].isin(VIEWS)], "dur")
    return int(np.median(views)) if len(views) >= FEWEST_VIEWS else DISPATCH_NS
