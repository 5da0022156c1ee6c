"""Everything that ran on each device, by name and by class of work."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.kernel_class import kernel_class
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, units
from perfscope.traces.trace import Trace

KEYS = ["rank", "process", "device"]


def kernel_table(trace: Trace) -> pd.DataFrame:
    """One row for each rank and name of a kernel, and for each direction of copies; the longest in
    sum first.

    Columns: rank, process, device, name, kernel_class (see kernel_class; a transfer is a `copy`),
    count, sum_ns, mean_ns, max_ns, longest_ts (where the longest of them starts), share (of the sum
    of everything on that device). Kernels that run side by side each count whole.
    """
    ran = _ran(trace)
    if not len(ran):
        return pd.DataFrame(
            columns=[
                *KEYS,
                "name",
                "kernel_class",
                "count",
                "sum_ns",
                "mean_ns",
                "max_ns",
                "longest_ts",
                "share",
            ]
        )
    groups = ran.groupby([*KEYS, "name", "kernel_class"], sort=False, observed=True)
    found = groups["dur"].agg(count="count", sum_ns="sum", max_ns="max").reset_index()
    longest = ran.loc[groups["dur"].idxmax(), "ts"].to_numpy()
    whole = found.groupby(KEYS)["sum_ns"].transform("sum")
    found = found.assign(
        mean_ns=found["sum_ns"] / found["count"], longest_ts=longest, share=found["sum_ns"] / whole
    )
    return found.sort_values(
        ["rank", "device", "sum_ns"], ascending=[True, True, False], ignore_index=True
    )


def kernel_classes(trace: Trace) -> pd.DataFrame:
    """The same by class of work: rank, process, device, kernel_class, count, sum_ns, mean_ns,
    share.
    """
    names = trace.fact(kernel_table)
    if not len(names):
        return pd.DataFrame(columns=[*KEYS, "kernel_class", "count", "sum_ns", "mean_ns", "share"])
    sums = (
        names.groupby([*KEYS, "kernel_class"], sort=False)[["count", "sum_ns", "share"]]
        .sum()
        .reset_index()
    )
    sums = sums.assign(mean_ns=sums["sum_ns"] / sums["count"])
    return sums.sort_values(
        ["rank", "device", "sum_ns"], ascending=[True, True, False], ignore_index=True
    )


def _ran(trace: Trace) -> pd.DataFrame:
    """Kernels and copies of every unit: rank, process, device, name, kernel_class, ts, dur."""
    parts = []
    kernels, copies = table(trace, "kernels"), table(trace, "copies")
    for unit in units(trace):
        if unit.device == NO_DEVICE:
            continue
        for frame, named in ((kernels, True), (copies, False)):
            mine = (column(frame, "process") == unit.process) & (
                column(frame, "device") == unit.device
            )
            if frame is None or not mine.any():
                continue
            own = frame[mine]
            label = _classes(own) if named else np.full(len(own), "copy", object)
            name = (
                own["name"].astype(object) if named else "copy " + own["direction"].astype(object)
            )
            parts.append(
                pd.DataFrame(
                    {
                        "rank": unit.rank,
                        "process": unit.process,
                        "device": unit.device,
                        "name": name,
                    }
                    | {"kernel_class": label, "ts": own["ts"], "dur": own["dur"]}
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _classes(kernels: pd.DataFrame) -> NDArray[np.object_]:
    """The class of each row; every name is looked at once."""
    codes = kernels["name"].cat.codes.to_numpy()
    talks = (kernels["kind"] == "communication").to_numpy()
    names = np.append(kernels["name"].cat.categories.to_numpy(object), "")
    by_code = np.full(len(names), "", object)
    used = np.unique(codes)
    by_code[used] = [kernel_class(str(names[code])) for code in used]
    labels: NDArray[np.object_] = np.where(talks, "communication", by_code[codes])
    return labels
