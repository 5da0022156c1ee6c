"""Copies between host and device as calls of the host: how much of each call is the copy itself.

A blocking copy returns when the device has finished all work that was queued before it, and then
the copy. Only the bytes over the link are the copy; the rest is waiting for the device.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
SETUP_NS: Final = 20_000
"""What a copy takes besides its bytes: the call, the launch, and the synchronization."""
BYTES_PER_NS: Final = {1: 12.0, 0: 4.0, -1: 4.0}
"""The rates of copies of pinned, pageable and unknown host memory over PCIe 3 x16, the slowest link
of a data center's GPU, in GB/s (bandwidthTest). They apply where no copy was timed on the device.
"""
LONGEST_SETUP_NS: Final = 200_000
LEAST_BYTES_PER_NS: Final = 0.04
"""A sixth of the slowest link (PCIe 1 x1): what takes longer was not the copy but a delay of the
host.
"""
UNDELAYED: Final = 0.25
"""The quantile of the times of equal copies that delays of the host do not lengthen."""
TIMED_BYTES: Final = 1 << 16
"""Copies below this size take as long as the smallest ones, and show no rate."""


def host_copies(trace: Trace, process: int) -> pd.DataFrame | None:
    """Return the rows of `copies` that are calls of the host, with `copy_ns`: the copy itself.

    It is what the device's own clock measured around calls of the same size, or direction; else the
    time of the bytes at the rate of copies in a profiling window; else at the slowest usual rate.
    """
    rows = rows_of(trace, "copies", process)
    if rows is None:
        return None
    on_device = column(rows, "device") >= 0
    calls, recorded = rows[~on_device], rows[on_device]
    size = np.maximum(column(calls, "bytes"), 0).astype(np.float64)
    rate = [BYTES_PER_NS[pinned] for pinned in column(calls, "pinned").clip(-1, 1).tolist()]
    copy_ns = SETUP_NS + size / np.array(rate, np.float64)
    direction = calls["direction"].astype(str).to_numpy(object)
    elapsed = elapsed_around(trace, process, calls, "copy")
    for name in np.unique(direction.astype(str)):
        of_direction = direction == name
        per_byte = recorded_ns_per_byte(recorded[recorded["direction"] == name])
        if per_byte is not None:
            copy_ns[of_direction] = SETUP_NS + size[of_direction] * per_byte
        by_size = times_by_size(size[of_direction], elapsed[of_direction])
        longest = LONGEST_SETUP_NS + size[of_direction] / LEAST_BYTES_PER_NS
        by_size = np.minimum(by_size, longest)
        copy_ns[of_direction] = np.where(np.isnan(by_size), copy_ns[of_direction], by_size)
    return calls.assign(copy_ns=np.minimum(copy_ns, column(calls, "dur")).astype(np.int64))


def elapsed_around(trace: Trace, process: int, calls: pd.DataFrame, kind: str) -> Ints:
    """Return the ns on the device around each of these calls; -1 for those not timed there."""
    timed = rows_of(trace, "device_times", process)
    elapsed = np.full(len(calls), -1, np.int64)
    if timed is None or not len(calls):
        return elapsed
    timed = timed[timed["call"] == kind]
    order = np.argsort(column(calls, "ts"), kind="stable")
    ts = column(calls, "ts")[order]
    place = np.minimum(np.searchsorted(ts, column(timed, "ts")), len(ts) - 1)
    same = ts[place] == column(timed, "ts")
    elapsed[order[place[same]]] = column(timed, "elapsed_ns")[same]
    return elapsed


def times_by_size(size: Floats, elapsed: Ints) -> Floats:
    """Return the ns that copies of each size take, by the timed ones; NaN where none was timed.

    A size that was never timed takes as long per byte as the others. Copies of one size take
    equally long on the device; what delays the host in between only adds.
    """
    found = np.full(len(size), np.nan)
    timed = elapsed >= 0
    if not timed.any():
        return found
    whole = float(size[timed].sum())
    if whole > 0.0:
        found = size * float(elapsed[timed].sum()) / whole
    for each in np.unique(size[timed]):
        found[size == each] = np.quantile(elapsed[timed & (size == each)], UNDELAYED)
    return found


def recorded_ns_per_byte(copies: pd.DataFrame) -> float | None:
    """Return the ns per byte of copies that a profiling window recorded, None without any."""
    size, dur = column(copies, "bytes"), column(copies, "dur")
    large = size >= TIMED_BYTES
    return float(dur[large].sum() / size[large].sum()) if large.any() else None


def device_idle_in_waits(trace: Trace, process: int, fewest: int) -> float | None:
    """Return the share of the time in waits for the loader in which the device was idle.

    By the waits that were timed on the device as well; None with fewer than `fewest`.
    """
    timed = rows_of(trace, "device_times", process)
    if timed is None or table(trace, "loader") is None:
        return None
    timed = timed[timed["call"] == "loader"]
    waited = column(timed, "dur")
    if len(timed) < fewest or not waited.sum():
        return None
    idle = np.minimum(column(timed, "elapsed_ns"), waited)
    return float(idle.sum() / waited.sum())
