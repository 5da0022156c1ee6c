"""Sums over nested calls by name: time of the host, and of the device work that was launched inside
them.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

SUMS = ("host_ns", "host_self_ns", "device_ns", "device_self_ns", "backward_device_ns", "kernels")
COLUMNS = ("process", "name", "parent", "count", *SUMS, "longest_ts")


def by_name(
    calls: pd.DataFrame, parent: Ints, work: Ints, behind: Ints, work_ns: Ints
) -> pd.DataFrame:
    """One row for each process and name, with COLUMNS.

    `calls` has process, ts, dur and a categorical name; `parent` is the position of the call around
    each, -1 for none. Of each piece of device work, `work_ns` long, `work` is the position of the
    innermost call that launched it and `behind` of the call whose backward it is (-1: none). A call
    inside another of its name adds to `count` and the self times only.
    """
    dur, ts = calls["dur"].to_numpy(np.int64), calls["ts"].to_numpy(np.int64)
    code = np.asarray(calls["name"].cat.codes, np.int64)
    names = calls["name"].cat.categories
    outer = ~inside_same_name(code, parent)
    own, whole, kernels = climbed(work, parent, work_ns)
    _, backward, _ = climbed(behind, parent, work_ns)
    inner = np.bincount(parent[parent >= 0], weights=dur[parent >= 0], minlength=len(dur)).astype(
        np.int64
    )
    frame = pd.DataFrame(
        {
            "process": calls["process"].to_numpy(np.int64),
            "code": code,
            "count": 1,
            "host_ns": np.where(outer, dur, 0),
            "host_self_ns": np.maximum(dur - inner, 0),
            "device_ns": np.where(outer, whole, 0),
            "device_self_ns": own,
            "backward_device_ns": np.where(outer, backward, 0),
            "kernels": np.where(outer, kernels, 0),
        }
    )
    sums = frame.groupby(["process", "code"], sort=True).sum().reset_index()
    longest = (
        frame.assign(dur=dur).groupby(["process", "code"], sort=True)["dur"].idxmax().to_numpy()
    )
    around = np.where(parent[longest] >= 0, code[parent[longest]], -1)
    spelled = np.append(names.to_numpy(object), "")
    sums = sums.assign(name=spelled[sums["code"]], parent=spelled[around], longest_ts=ts[longest])
    return sums[list(COLUMNS)]


def climbed(at: Ints, parent: Ints, amount: Ints) -> tuple[Ints, Ints, Ints]:
    """For each call: the amounts at it; at it and at all calls inside it; and how many those are.
    `at` is -1 for nowhere.
    """
    at, amount = at[at >= 0], amount[at >= 0]
    own = np.bincount(at, weights=amount, minlength=len(parent)).astype(np.int64)
    whole, count = np.zeros(len(parent), np.int64), np.zeros(len(parent), np.int64)
    while len(at):
        whole += np.bincount(at, weights=amount, minlength=len(parent)).astype(np.int64)
        count += np.bincount(at, minlength=len(parent))
        at = parent[at]
        at, amount = at[at >= 0], amount[at >= 0]
    return own, whole, count


def inside_same_name(code: Ints, parent: Ints) -> NDArray[np.bool_]:
    """Which calls run inside another of their own name."""
    found = np.zeros(len(parent), bool)
    rows = np.flatnonzero(parent >= 0)
    at = parent[rows]
    while len(rows):
        found[rows] |= code[at] == code[rows]
        at = parent[at]
        on = (at >= 0) & ~found[rows]
        rows, at = rows[on], at[on]
    return found
