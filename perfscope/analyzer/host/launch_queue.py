"""How far the host runs ahead of the device: kernels launched and not started yet, and how long
each waits.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit, units
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

COLUMNS = ("rank", "process", "device", "ts", "depth")


@dataclass(frozen=True)
class Launched:
    """The kernels of one device whose launch is known, in order of start; ns."""

    launched: Ints  # when the call that started the kernel began
    call: Ints  # how long that call took; of a graph launch, its share for each kernel
    start: Ints
    dur: Ints


@dataclass(frozen=True)
class QueueSummary:
    """How one device was fed. Depth counts kernels launched and not started; shares are of kernels
    whose launch is known.
    """

    rank: int
    process: int
    device: int
    kernels: int
    mean_depth: float  # over the time from the first launch to the last start
    empty_share: float  # of that time without any launched kernel waiting
    latency_ns: float  # median from launch to start
    call_ns: float  # median length of a launch call
    kernel_ns: float  # mean length of a kernel
    shorter_share: float  # kernels that take less time than launching them did


def launch_queue(trace: Trace) -> pd.DataFrame:
    """The depth of the launch queue over time: rank, process, device, ts, depth (from this instant
    on).
    """
    parts = []
    for unit in units(trace):
        known = launched(trace, unit)
        if known is not None:
            at, depth = depths(known)
            keys = {"rank": unit.rank, "process": unit.process, "device": unit.device}
            parts.append(pd.DataFrame({**keys, "ts": at, "depth": depth}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def queue_summaries(trace: Trace) -> list[QueueSummary]:
    """One for each device with kernels whose launch is known."""
    found = []
    for unit in units(trace):
        known = launched(trace, unit)
        if known is None:
            continue
        at, depth = depths(known)
        lasts = np.diff(at)
        whole = max(int(lasts.sum()), 1)
        found.append(
            QueueSummary(
                rank=unit.rank,
                process=unit.process,
                device=unit.device,
                kernels=len(known.start),
                mean_depth=float((depth[:-1] * lasts).sum() / whole),
                empty_share=float(lasts[depth[:-1] == 0].sum() / whole),
                latency_ns=float(np.median(known.start - known.launched)),
                call_ns=float(np.median(known.call)),
                kernel_ns=float(known.dur.mean()),
                shorter_share=float((known.dur < known.call).mean()),
            )
        )
    return found


def launched(trace: Trace, unit: Unit) -> Launched | None:
    """The kernels of a unit with their launches, None where none is known."""
    kernels, calls = rows_on(trace, "kernels", unit), table(trace, "launches")
    if unit.device == NO_DEVICE or kernels is None or calls is None:
        return None
    row = column(kernels, "launch")
    if not (row >= 0).any():
        return None
    own = kernels[row >= 0].sort_values("ts", kind="stable")
    row = column(own, "launch")
    together = np.bincount(row, minlength=len(calls))[row]  # a graph launch starts many
    begun = column(calls, "ts")[row]
    # Clocks of host and device are matched to about a microsecond: nothing starts before it was
    # launched.
    start = np.maximum(column(own, "ts"), begun)
    return Launched(begun, column(calls, "dur")[row] // together, start, column(own, "dur"))


def depths(known: Launched) -> tuple[Ints, Ints]:
    """(instants, launched kernels that wait from each of them on)."""
    change = np.concatenate(
        (np.ones(len(known.start), np.int64), np.full(len(known.start), -1, np.int64))
    )
    at = np.concatenate((known.launched, known.start))
    instants, where = np.unique(at, return_inverse=True)
    steps = np.bincount(where, weights=change, minlength=len(instants)).astype(np.int64)
    return instants, np.cumsum(steps)
