"""Operators in the profiling windows of a run, by phase of the step, name and input shapes."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.accelerators.launch_origin import work_origin
from perfscope.analyzer.run.budget_units import rank_by_process
from perfscope.analyzer.run.nested_rows import are_within
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.analyzer.run.thread_intervals import spans_of
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
    operator's middle, else backward if the engine of autograd called it (as it does without a probe
    and for `torch.autograd.grad`), else other. `host_self_ns` is without the operators that it
    calls, `device_ns` is of the work that it launched directly. Every call takes longer inside a
    window, so only the proportions are exact.
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


def phase_of(trace: Trace, ops: pd.DataFrame) -> NDArray[np.object_]:
    """Return the phase of each operator, by the ranges around its middle.

    These are the ranges of its thread. A thread without ranges (one of autograd's) works for the
    other threads of its process, so all ranges of the process count.
    """
    process, tid = column(ops, "process"), column(ops, "tid")
    middle = column(ops, "ts") + column(ops, "dur") // 2
    phase = np.full(len(ops), "other", object)
    categories = [category for of_phase in PHASES.values() for category in of_phase]
    for code in np.unique(process):
        ranges = rows_of_category(rows_of(trace, "ranges", int(code)), *categories)
        if ranges is None or not len(ranges):
            continue
        with_ranges = np.isin(tid, np.unique(column(ranges, "tid")))
        range_tid = np.where(with_ranges, tid, -1)
        for thread in np.unique(range_tid[process == code]):
            candidates = ranges if thread < 0 else ranges[column(ranges, "tid") == thread]
            of_thread = (process == code) & (range_tid == thread)
            for name, of_phase in PHASES.items():
                spans = spans_of(rows_of_category(candidates, *of_phase))
                phase[of_thread & inside(spans, middle)] = name
    starts = ops["name"].astype(str).str.startswith(ENGINE).to_numpy(bool)
    phase[(phase == "other") & are_within(starts, column(ops, "parent"))] = "backward"
    return phase


def launched_device_time(trace: Trace, count: int) -> Ints:
    """Return the device time of the work that each operator itself launched, ns."""
    if not trace.has("kernels") and not trace.has("copies"):
        return np.zeros(count, np.int64)
    origin = trace.fact(work_origin)
    known = origin.op >= 0
    return np.bincount(origin.op[known], origin.dur[known], count).astype(np.int64)
