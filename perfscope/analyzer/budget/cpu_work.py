"""The work of processes without an accelerator: operators compute on the threads that call them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.cpu_communication import rows_named
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints, Spans, merged

VIEWS = (
    "aten::view",
    "aten::as_strided",
    "aten::t",
    "aten::transpose",
    "aten::detach",
    "aten::alias",
    "aten::expand",
)
"""Operators that touch no data: their time is the cost of dispatching one operator (profiled)."""
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
"""More operators that touch no data."""
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
"""Operators that others call to prepare their operands: a product with a Python number first makes
a tensor of it, by `aten::to`. An operator that calls only these computes itself; one that calls
others delegates to them.
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
"""These compute in all their self time, whatever they call: the backward of a convolution is two
products with calls between, an LSTM adds its biases first.
"""
OPERATOR = "aten::"
FAR_ABOVE_DISPATCH_NS = 50_000
FEWEST_VIEWS = 10
DISPATCH_NS = 1_000
"""The cost on current CPUs, for traces with too few such operators."""


def call_spans(ops: pd.DataFrame) -> Spans:
    """Return where one thread calls operators.

    Short pauses between two calls belong to it: calls follow each other as fast as dispatch allows.
    """
    order = np.argsort(column(ops, "ts"), kind="stable")
    if not len(order):
        return merged()
    first, last = column(ops, "ts")[order], (column(ops, "ts") + column(ops, "dur"))[order]
    reach = np.maximum.accumulate(last)
    apart = first[1:] - reach[:-1] > FAR_ABOVE_DISPATCH_NS
    return first[np.append(True, apart)], reach[np.append(apart, True)]


def computing_spans(ops: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    """Return begin, end and position in `ops` (of one or more processes) of what operators compute.

    That is their self time less the cost of dispatching each.
    """
    begin, end, row = computing_self_time(ops)
    touches_data = ~ops["name"].isin(DATALESS).to_numpy()[row]
    start: Ints = np.minimum(begin + dispatch_of_each(ops)[row], end)
    return start[touches_data], end[touches_data], row[touches_data]


@dataclass(frozen=True)
class SelfTime:
    """Stretches of operators in which none of their callees runs: begin, end, operator's position.

    `calls_none` says, for each operator, whether it calls no other.
    """

    begin: Ints
    end: Ints
    owner: Ints
    calls_none: NDArray[np.bool_]


def self_time(ops: pd.DataFrame) -> SelfTime:
    """Return the self time of operators: before, between and after their callees."""
    first, last = column(ops, "ts"), column(ops, "ts") + column(ops, "dur")
    parent, child = children_of(ops)
    opens, closes = first_and_last_of_runs(parent)
    calls_none = np.ones(len(ops), bool)
    calls_none[parent] = False
    previous_end = np.append(0, last[child])[: len(child)]
    before = np.where(opens, first[parent], previous_end)
    place = np.arange(len(ops))
    return SelfTime(
        begin=np.concatenate((first[calls_none], before, last[child][closes])),
        end=np.concatenate((last[calls_none], first[child], last[parent[closes]])),
        owner=np.concatenate((place[calls_none], parent, parent[closes])),
        calls_none=calls_none,
    )


def computing_self_time(ops: pd.DataFrame) -> tuple[Ints, Ints, Ints]:
    """Return begin, end and position in `ops` of the self time in which operators compute.

    - An operator that calls none computes all its time.
    - Others compute in their longest stretch: a product first asks for its operands, copies a bias,
      then multiplies. Those in COMPUTES compute in each stretch.
    - An operator that calls more than HELPERS delegates and computes nothing, unless that stretch
      is far above the cost of dispatch and longer than what it calls.
    """
    stretches = self_time(ops)
    begin, end, owner = stretches.begin, stretches.end, stretches.owner
    in_all_stretches = ops["name"].isin(COMPUTES).to_numpy()
    longest_first = np.lexsort((begin - end, owner))
    is_longest, _ = first_and_last_of_runs(owner[longest_first])
    kept = longest_first[is_longest | in_all_stretches[owner[longest_first]]]

    length, kept_owner = (end - begin)[kept], owner[kept]
    callee_ns, delegates = delegated_time(ops)
    delegates &= ~in_all_stretches
    is_torch = rows_named(ops, lambda name: name.startswith(OPERATOR))[kept_owner]
    works = is_torch & (length >= FAR_ABOVE_DISPATCH_NS) & (length > callee_ns[kept_owner])
    computes = stretches.calls_none[kept_owner] | ~delegates[kept_owner] | works
    kept = kept[computes & (length > 0)]
    return begin[kept], end[kept], owner[kept]


def delegated_time(ops: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return, per operator, the time of callees that are not HELPERS, and whether it has any."""
    parent, child = children_of(ops)
    others = ~ops["name"].isin(HELPERS).to_numpy()[child]
    dur = column(ops, "dur")[child]
    callee_ns = np.bincount(parent[others], dur[others], len(ops)).astype(np.float64)
    has_others = np.bincount(parent[others], minlength=len(ops)) > 0
    return callee_ns, has_others


def children_of(ops: pd.DataFrame) -> tuple[Ints, Ints]:
    """Return the positions of callers and callees, by caller and then by time of the call."""
    caller = positions_of(ops.index.to_numpy(np.int64), column(ops, "parent"))
    child = np.flatnonzero(caller >= 0)
    child = child[np.lexsort((column(ops, "ts")[child], caller[child]))]
    return caller[child], child


def first_and_last_of_runs(values: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the values begin, and which end, a run of equal values."""
    if not len(values):
        empty = np.empty(0, bool)
        return empty, empty
    changes = values[1:] != values[:-1]
    return np.append(True, changes), np.append(changes, True)


def positions_of(rows: Ints, wanted: Ints) -> Ints:
    """Return the position of each wanted row among `rows` (in order), -1 for one not among them."""
    place = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    found: Ints = np.where(rows[place] == wanted, place, -1)
    return found


def dispatch_of_each(ops: pd.DataFrame) -> Ints:
    """Return, for each operator, the cost of dispatching one in its process, ns."""
    process, dur = column(ops, "process"), column(ops, "dur")
    views = np.flatnonzero(ops["name"].isin(VIEWS).to_numpy())
    views = views[np.argsort(process[views], kind="stable")]
    codes, first = np.unique(process[views], return_index=True)
    if not len(codes):
        return np.full(len(ops), DISPATCH_NS, np.int64)
    costs = np.array([usual_dispatch_ns(each) for each in np.split(dur[views], first[1:])])
    place = positions_of(codes, process)
    return np.where(place >= 0, costs[place], DISPATCH_NS)


def dispatch_ns(ops: pd.DataFrame) -> int:
    """Return the cost of dispatching one operator of a process, ns."""
    return usual_dispatch_ns(column(ops[ops["name"].isin(VIEWS)], "dur"))


def usual_dispatch_ns(dur: Ints) -> int:
    """Return the median time of operators that touch no data, ns; DISPATCH_NS for a few."""
    return int(np.median(dur)) if len(dur) >= FEWEST_VIEWS else DISPATCH_NS
