"""What bounds the run according to the counters of its devices, which outrank the host's budget."""

from typing import Final

from perfscope.analyzer.budget.device_evidence import timed_devices
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import COMPUTE_OR_HOST, DEVICE_COMPUTE
from perfscope.analyzer.counters.counter_bound import CounterBound, counter_bound
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import device_losses
from perfscope.analyzer.diagnosis import BoundBy
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.analyzer.run.table_access import uses_device
from perfscope.traces.trace import Trace

CONFIDENCE: Final = 0.7
"""Confidence of means over the window: they do not distinguish the phases of a step."""
RESOURCES: Final = ("compute", "memory-bandwidth")


def with_device_counters(bound: BoundBy, trace: Trace) -> BoundBy:
    """Return `bound`, or what the counters of the devices show instead.

    A device that runs kernels nearly all the time limits the run: by its memory or its arithmetic
    where GPM shows which, by its links where they are full. Kernels alone ("100 % utilization") do
    not show what limits them. Then, and where the host only launches work on a device that was not
    timed, what looks like computation is unknown. It is known where the device computes while the
    host waits for it, and from a profiling window.
    """
    uses = trace.fact(device_use)
    if trace.has_profiled_work or not uses:
        return bound
    if any(loss.use is use for loss in trace.fact(device_losses) for use in uses):
        # One of the job's devices is gone: what the others do does not explain the run.
        return BoundBy("unknown", None, 0.0)
    near_shares = [link.near_share for link in trace.fact(link_use)]
    fullest = max(near_shares, default=0.0)
    if fullest >= LIMITS.main_cause_share:
        return BoundBy("communication", round(fullest, 4), CONFIDENCE)
    busiest = busiest_device(trace.fact(counter_bound))
    if busiest is not None:
        return BoundBy(busiest.id, round(busiest.kernel_time_share or 0.0, 4), CONFIDENCE)
    if bound.id == "compute" and computes_on_device(trace, uses) and not device_is_timed(trace):
        return BoundBy("unknown", bound.share, 0.0)
    return bound


def device_is_timed(trace: Trace) -> bool:
    """Return whether most of what looks like computation is known to be the device's."""
    rows = trace.fact(steady_budget)
    if not len(rows) or not trace.fact(timed_devices):
        return False
    computing, unknown = float(rows[DEVICE_COMPUTE].sum()), float(rows[COMPUTE_OR_HOST].sum())
    return computing > unknown


def busiest_device(found: list[CounterBound]) -> CounterBound | None:
    """Return the device whose memory or arithmetic is nearest to its ceiling.

    Only devices count that run kernels nearly all the time.
    """
    busy = [
        bound
        for bound in found
        if bound.id in RESOURCES and (bound.kernel_time_share or 0.0) >= LIMITS.busy_share
    ]
    return max(busy, key=lambda bound: max(bound.compute, bound.memory), default=None)


def computes_on_device(trace: Trace, uses: list[DeviceUse]) -> bool:
    """Return whether the job is known to compute on a device."""
    return any(use.processes for use in uses) or uses_device(trace)
