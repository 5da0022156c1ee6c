"""Sums over nested calls by name: host time, and the time of device work launched inside them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.nested_rows import nearest_of_group, sums_within
from perfscope.traces.intervals import Ints

SUMS = ("host_ns", "host_self_ns", "device_ns", "device_self_ns", "backward_device_ns", "kernels")
COLUMNS = ("process", "name", "parent", "count", *SUMS, "longest_ts")


def sums_by_name(
    calls: pd.DataFrame, parent: Ints, work: Ints, backward_of: Ints, work_ns: Ints
) -> pd.DataFrame:
    """Return one row for each process and name, with COLUMNS.

    `calls` has process, ts, dur and a categorical name; `parent` is the position of the call around
    each, -1 for none. Of each piece of device work, `work_ns` long, `work` is the position of the
    innermost call that launched it and `backward_of` that of the call whose backward it is (-1:
    none). A call inside another of its name adds to `count` and the self times only.
    """
    dur, ts = calls["dur"].to_numpy(np.int64), calls["ts"].to_numpy(np.int64)
    code = np.asarray(calls["name"].cat.codes, np.int64)
    names = calls["name"].cat.categories
    outer = ~inside_same_name(code, parent)
    in_self, in_all, kernels = sum_up_the_tree(work, parent, work_ns)
    _, backward, _ = sum_up_the_tree(backward_of, parent, work_ns)
    has_parent = parent >= 0
    inner = np.bincount(parent[has_parent], weights=dur[has_parent], minlength=len(dur))
    inner = inner.astype(np.int64)
    frame = pd.DataFrame(
        {
            "process": calls["process"].to_numpy(np.int64),
            "code": code,
            "count": 1,
            "host_ns": np.where(outer, dur, 0),
            "host_self_ns": np.maximum(dur - inner, 0),
            "device_ns": np.where(outer, in_all, 0),
            "device_self_ns": in_self,
            "backward_device_ns": np.where(outer, backward, 0),
            "kernels": np.where(outer, kernels, 0),
        }
    )
    by_code = frame.assign(dur=dur).groupby(["process", "code"], sort=True)
    sums = by_code.sum().reset_index()
    longest = by_code["dur"].idxmax().to_numpy()
    caller = np.where(parent[longest] >= 0, code[parent[longest]], -1)
    texts = np.append(names.to_numpy(object), "")
    sums = sums.assign(name=texts[sums["code"]], parent=texts[caller], longest_ts=ts[longest])
    return sums[list(COLUMNS)]


def sum_up_the_tree(call: Ints, parent: Ints, amount: Ints) -> tuple[Ints, Ints, Ints]:
    """Return three values for each call: the amounts in it, in it and its callees, and their count.

    `call` is the call of each amount, -1 for none.
    """
    call, amount = call[call >= 0], amount[call >= 0]
    calls = len(parent)
    in_self = np.bincount(call, weights=amount, minlength=calls).astype(np.int64)
    in_all = sums_within(parent, in_self)
    count = sums_within(parent, np.bincount(call, minlength=calls))
    return in_self, in_all.astype(np.int64), count.astype(np.int64)


def inside_same_name(code: Ints, parent: Ints) -> NDArray[np.bool_]:
    """Return which calls are inside another call of their name."""
    return nearest_of_group(code, parent, np.arange(len(parent))) >= 0
