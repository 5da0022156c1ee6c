"""Operators in the profiling windows of a run, by phase of the step, name and input shapes."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.launch_origin import work_origin
from perfscope.analyzer.run.table_access import column, of_category, rows_of, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.analyzer.run.units import rank_by_process
from perfscope.traces.intervals import Ints, inside
from perfscope.traces.trace import Trace

PHASES = {"forward": ("forward",), "backward": ("backward",), "optimizer": ("optimizer", "scaler")}
ENGINE = "autograd::engine::evaluate_function"
COLUMNS = (
    "rank",
    "process",
    "phase",
    "name",
    "shapes",
    "count",
    "host_ns",
    "host_self_ns",
    "device_ns",
)


def operators_by_phase(trace: Trace) -> pd.DataFrame:
    """Return one row per process, phase, name and shapes; of a process most self time first.

    Empty without windows.

    Columns: COLUMNS. `phase` is forward, backward or optimizer by the probe's ranges around the
    operator's middle, else backward where autograd's engine called it (it calls also where no probe
    is, and for `torch.autograd.grad`), else other; `host_self_ns` is without the operators that it
    calls, `device_ns` what it launched itself. Inside a window every call takes
    longer: only proportions are exact.
    """
    ops = table(trace, "ops")
    if ops is None or not len(ops) or table(trace, "windows") is None:
        return pd.DataFrame(columns=list(COLUMNS))
    parent, dur = column(ops, "parent"), column(ops, "dur")
    called = np.bincount(parent[parent >= 0], dur[parent >= 0], len(ops)).astype(np.int64)
    rows = pd.DataFrame(
        {
            "process": column(ops, "process"),
            "phase": phase_of(trace, ops),
            "name": ops["name"].astype(str),
            "shapes": ops["shapes"].astype(object).where(ops["shapes"].notna(), "").astype(str),
            "host_ns": dur,
            "host_self_ns": np.maximum(dur - called, 0),
            "device_ns": launched_device_time(trace, len(ops)),
        }
    )
    keys = ["process", "phase", "name", "shapes"]
    found = rows.groupby(keys, sort=False).agg(
        count=("host_ns", "size"),
        host_ns=("host_ns", "sum"),
        host_self_ns=("host_self_ns", "sum"),
        device_ns=("device_ns", "sum"),
    )
    found = found.reset_index()
    ranks = rank_by_process(trace)
    found.insert(0, "rank", [ranks.get(int(process), 0) for process in found["process"]])
    order = ["rank", "process", "device_ns", "host_self_ns"]
    return found.sort_values(order, ascending=[True, True, False, False], ignore_index=True)[
        list(COLUMNS)
    ]


def phase_of(trace: Trace, ops: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    """The phase of each operator, by the ranges of its own thread; one that has none (autograd's)
    works for the others.
    """
    process, tid, middle = (
        column(ops, "process"),
        column(ops, "tid"),
        column(ops, "ts") + column(ops, "dur") // 2,
    )
    phase = np.full(len(ops), "other", object)
    for code in np.unique(process):
        ranges = of_category(
            rows_of(trace, "ranges", int(code)), *(one for of in PHASES.values() for one in of)
        )
        if ranges is None or not len(ranges):
            continue
        own = np.unique(column(ranges, "tid"))
        served = np.where(np.isin(tid, own), tid, -1)
        for thread in np.unique(served[process == code]):
            near = ranges if thread < 0 else ranges[column(ranges, "tid") == thread]
            here = (process == code) & (served == thread)
            for name, categories in PHASES.items():
                phase[here & inside(spans_of(of_category(near, *categories)), middle)] = name
    starts = ops["name"].astype(str).str.startswith(ENGINE).to_numpy(bool)
    phase[(phase == "other") & called_by(starts, column(ops, "parent"))] = "backward"
    return phase


def called_by(these: NDArray[np.bool_], parent: Ints) -> NDArray[np.bool_]:
    """The operators that are among `these` or inside one of them; `parent`: the row of the one
    around each, -1 for none.
    """
    found, at = these.copy(), parent
    while (at >= 0).any():
        inner = at >= 0
        found[inner] |= these[at[inner]]
        at = np.where(inner, parent[at], -1)
    return found


def launched_device_time(trace: Trace, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Return the device time of the work that each operator itself launched, ns."""
    if not trace.has("kernels") and not trace.has("copies"):
        return np.zeros(count, np.int64)
    origin = trace.fact(work_origin)
    known = origin.op >= 0
    return np.bincount(origin.op[known], origin.dur[known], count).astype(np.int64)
