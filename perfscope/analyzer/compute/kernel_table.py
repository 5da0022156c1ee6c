"""Everything that ran on each device, by name and by class of work."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.kernel_category import kernel_class
from perfscope.analyzer.compute.short_kernel_names import short_kernel_names
from perfscope.analyzer.run.budget_units import NO_DEVICE, units
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

KEYS = ["rank", "process", "device"]


def kernel_table(trace: Trace) -> pd.DataFrame:
    """Return one row per rank and kernel name, and per direction of copies; most time first.

    Columns: rank, process, device, name, short_name, kernel_class (see kernel_class; a transfer is
    a `copy`), count, sum_ns, mean_ns, max_ns, longest_ts (where the longest of them starts), share
    (of the sum of everything on that device). Kernels that run at the same time each count in full.
    """
    ran = device_rows(trace)
    if not len(ran):
        return pd.DataFrame(
            columns=[
                *KEYS,
                "name",
                "short_name",
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
    found = found.sort_values(
        ["rank", "device", "sum_ns"], ascending=[True, True, False], ignore_index=True
    )
    return found.assign(short_name=short_kernel_names(found["name"].astype(str)))


def kernel_classes(trace: Trace) -> pd.DataFrame:
    """Return the kernel table by class of work.

    Columns rank, process, device, kernel_class, count, sum_ns, mean_ns, share.
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


def device_rows(trace: Trace) -> pd.DataFrame:
    """Return kernels and copies of all devices.

    Columns rank, process, device, name, kernel_class, ts, dur.
    """
    parts = []
    kernels, copies = table(trace, "kernels"), table(trace, "copies")
    for unit in units(trace):
        if unit.device == NO_DEVICE:
            continue
        for frame, named in ((kernels, True), (copies, False)):
            of_unit = (column(frame, "process") == unit.process) & (
                column(frame, "device") == unit.device
            )
            if frame is None or not of_unit.any():
                continue
            rows = frame[of_unit]
            label = classes_of_kernels(rows) if named else np.full(len(rows), "copy", object)
            name = (
                rows["name"].astype(object) if named else "copy " + rows["direction"].astype(object)
            )
            parts.append(
                pd.DataFrame(
                    {
                        "rank": unit.rank,
                        "process": unit.process,
                        "device": unit.device,
                        "name": name,
                    }
                    | {"kernel_class": label, "ts": rows["ts"], "dur": rows["dur"]}
                )
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def classes_of_kernels(kernels: pd.DataFrame) -> NDArray[np.object_]:
    """Return the class of each row."""
    codes = kernels["name"].cat.codes.to_numpy()
    communicates = (kernels["kind"] == "communication").to_numpy()
    names = np.append(kernels["name"].cat.categories.to_numpy(object), "")
    by_code = np.full(len(names), "", object)
    used = np.unique(codes)
    by_code[used] = [kernel_class(str(names[code])) for code in used]
    labels: NDArray[np.object_] = np.where(communicates, "communication", by_code[codes])
    return labels
