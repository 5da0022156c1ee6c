"""What bounds the run by the counters of its devices, which outrank what the host alone can
tell.
"""

from typing import Final

from perfscope.analyzer.counters.counter_bound import CounterBound, counter_bound
from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import losses
from perfscope.analyzer.diagnosis import BoundBy
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.table_access import uses_device
from perfscope.traces.trace import Trace

BY_COUNTERS: Final = 0.7
"""Confidence of what means over the window say: phases are not told apart in them."""


def with_devices(bound: BoundBy, trace: Trace) -> BoundBy:
    """The host's answer, or that of the devices where their counters carry one.

    A device with kernels nearly all the time is what limits: by its memory or its arithmetic where
    GPM says so, by its links where they are full. Kernels alone ("100 % utilisation") say nothing
    of what limits them: then, and where the host only dispatches to a device that was not timed,
    what looks like computation is not known.
    """
    uses = trace.fact(device_use)
    if trace.has_profiled_work or not uses:
        return bound
    if any(lost.use is use for lost in trace.fact(losses) for use in uses):
        return BoundBy(
            "unknown", None, 0.0
        )  # one of its devices is gone: what the others do is no answer
    links = [one for one in trace.fact(link_use) if one.near_share >= LIMITS.explains]
    if links:
        return BoundBy("communication", round(max(one.near_share for one in links), 4), BY_COUNTERS)
    told = busiest(trace.fact(counter_bound))
    if told is not None:
        return BoundBy(told.id, round(told.kernel_time_share or 0.0, 4), BY_COUNTERS)
    if bound.id == "compute" and on_device(trace, uses):
        return BoundBy("unknown", bound.share, 0.0)
    return bound


def busiest(found: list[CounterBound]) -> CounterBound | None:
    """The device whose memory or arithmetic is nearest to its ceiling, of those that work nearly
    all the time.
    """
    bound = [
        one
        for one in found
        if one.id in ("compute", "memory-bandwidth")
        and (one.kernel_time_share or 0.0) >= LIMITS.busy_share
    ]
    return max(bound, key=lambda one: max(one.compute, one.memory), default=None)


def on_device(trace: Trace, uses: list[DeviceUse]) -> bool:
    """Does the job compute on a device, as far as can be told?"""
    return any(use.processes for use in uses) or uses_device(trace)
