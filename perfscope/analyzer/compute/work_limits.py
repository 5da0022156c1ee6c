"""What limits the work of each device: arithmetic, memory, or neither."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.call_costs import communicates, device_work, over_a_link
from perfscope.analyzer.compute.roofline import COMPUTE, MEMORY, roofed_calls
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.budget_units import NO_DEVICE
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class WorkLimits:
    """Nanoseconds of a device's work, without communication and copies over links.

    `whole`: in total, in a profiling window from the first to the last work whose operator was
    recorded: around that a device does what was launched before operators were recorded, or after
    it. `compute`: limited by arithmetic; `memory`: limited by memory; `below`: in calls far below
    both roofs. The rest has no model, or its limit is unknown.
    """

    whole: int
    compute: int
    memory: int
    below: int


def work_limits(trace: Trace) -> dict[tuple[int, int], WorkLimits]:
    """Return what limits the work of each device, by process and device."""
    work = trace.fact(device_work)
    on_device = ~over_a_link(trace, work) & ~communicates(trace, work)
    found = {}
    by_device = np.lexsort((work.device, work.process))
    process_of, device_of = work.process[by_device], work.device[by_device]
    is_new = (np.diff(process_of) != 0) | (np.diff(device_of) != 0)
    for places in np.split(by_device, np.flatnonzero(is_new) + 1) if len(by_device) else []:
        process, device = int(work.process[places[0]]), int(work.device[places[0]])
        of_device = places[on_device[places]]
        rows = rows_on_device(fact_rows(trace, roofed_calls, process), device)
        limit = limited_by(rows)
        work_ns = rows["work_ns"].to_numpy(np.int64)
        sums = {name: int(work_ns[limit == name].sum()) for name in (COMPUTE, MEMORY, BELOW)}
        ts = work.ts[of_device]
        known = ts[work.op[of_device] >= 0]
        if len(known) and not trace.is_profiler_trace:
            of_device = of_device[(ts >= known.min()) & (ts <= known.max())]
        found[process, device] = WorkLimits(
            int(work.dur[of_device].sum()), sums[COMPUTE], sums[MEMORY], sums[BELOW]
        )
    return found


BELOW = "below"


def limited_by(calls: pd.DataFrame) -> NDArray[np.object_]:
    """Return what limits each of `roofed_calls`: compute, memory-bandwidth, below, or "".

    `below`: it is far below its roof, so that something else limits it. Without a roof the limit is
    given only where the intensity leaves no doubt, and memory only where the data do not fit into a
    core's caches. A call with that much data on a CPU that is far below memory's roof still waits
    for memory: for new pages, or because of its layout.
    """
    side, share = calls["side"].to_numpy(object), calls["roof_share"].to_numpy(np.float64)
    roofed, known = ~np.isnan(share), side != ""
    reached = calls["reached"].to_numpy(np.float64)
    reaches = np.where(roofed, share >= LIMITS.limited_from * reached, True)
    large = calls["bytes"].to_numpy(np.float64) >= LIMITS.beyond_caches_bytes
    reaches &= roofed | (side != MEMORY) | large
    reaches |= (calls["device"].to_numpy(np.int64) == NO_DEVICE) & (side == MEMORY) & large
    return np.where(known & reaches, side, np.where(known, BELOW, "")).astype(object)
