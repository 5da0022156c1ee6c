"""How far the host runs ahead of the device: kernels that are launched and have not started yet."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints, instants_of
from perfscope.traces.trace import Trace

COLUMNS = ("rank", "process", "device", "ts", "depth")


@dataclass(frozen=True)
class LaunchedKernels:
    """The kernels of one device whose launch is known, in order of start; ns."""

    launched: Ints
    """When the call that launched the kernel began."""
    call: Ints
    """How long that call took; of a graph launch, its share for each kernel."""
    start: Ints
    dur: Ints


@dataclass(frozen=True)
class QueueSummary:
    """The launch queue of one device. Its depth is the number of launched, waiting kernels.

    Shares are of kernels whose launch is known.
    """

    rank: int
    process: int
    device: int
    kernels: int
    mean_depth: float
    """Over the time from the first launch to the last start."""
    empty_share: float
    """The share of that time without a waiting kernel."""
    latency_ns: float
    """The median from launch to start."""
    call_ns: float
    """The median length of a launch call."""
    kernel_ns: float
    """The mean length of a kernel."""
    shorter_share: float
    """The share of kernels that take less time than their launch."""
    period_ns: float
    """The mean time from one launch to the next."""


def launch_queue(trace: Trace) -> pd.DataFrame:
    """Return the depth of the launch queue over time.

    Columns: rank, process, device, ts, depth (from this instant on).
    """
    parts = []
    for unit in units(trace):
        kernels = launched_kernels(trace, unit)
        if kernels is not None:
            instants, depth = launch_queue_depths(kernels)
            keys = {"rank": unit.rank, "process": unit.process, "device": unit.device}
            parts.append(pd.DataFrame({**keys, "ts": instants, "depth": depth}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def queue_summaries(trace: Trace) -> list[QueueSummary]:
    """Return one summary per device with kernels whose launch is known."""
    summaries = []
    for unit in units(trace):
        kernels = launched_kernels(trace, unit)
        if kernels is not None:
            summaries.append(queue_summary(unit, kernels))
    return summaries


def queue_summary(unit: Unit, kernels: LaunchedKernels) -> QueueSummary:
    """Return the summary of one device."""
    instants, depth = launch_queue_depths(kernels)
    lasts = np.diff(instants)
    in_all = max(int(lasts.sum()), 1)
    return QueueSummary(
        rank=unit.rank,
        process=unit.process,
        device=unit.device,
        kernels=len(kernels.start),
        mean_depth=float((depth[:-1] * lasts).sum() / in_all),
        empty_share=float(lasts[depth[:-1] == 0].sum() / in_all),
        latency_ns=float(np.median(kernels.start - kernels.launched)),
        call_ns=float(np.median(kernels.call)),
        kernel_ns=float(kernels.dur.mean()),
        shorter_share=float((kernels.dur < kernels.call).mean()),
        period_ns=float(np.ptp(kernels.launched)) / max(len(kernels.launched) - 1, 1),
    )


def launched_kernels(trace: Trace, unit: Unit) -> LaunchedKernels | None:
    """Return the kernels of a unit with their launches, None where none is known."""
    kernels, calls = rows_on(trace, "kernels", unit), table(trace, "launches")
    if unit.device == NO_DEVICE or kernels is None or calls is None:
        return None
    known = column(kernels, "launch") >= 0
    if not known.any():
        return None
    kernels = kernels[known].sort_values("ts", kind="stable")
    row = column(kernels, "launch")
    per_call = np.bincount(row, minlength=len(calls))[row]  # a graph launch starts many kernels
    launched = column(calls, "ts")[row]
    # Clocks of host and device match to about a microsecond: no kernel starts before its launch.
    start = np.maximum(column(kernels, "ts"), launched)
    call = column(calls, "dur")[row] // per_call
    return LaunchedKernels(launched, call, start, column(kernels, "dur"))


def launch_queue_depths(kernels: LaunchedKernels) -> tuple[Ints, Ints]:
    """Return instants, and the launched kernels that wait from each of them on."""
    launched, started = (np.sort(at, kind="stable") for at in (kernels.launched, kernels.start))
    instants = instants_of([(launched, started)])
    return instants, np.searchsorted(launched, instants, side="right") - np.searchsorted(
        started, instants, side="right"
    )
