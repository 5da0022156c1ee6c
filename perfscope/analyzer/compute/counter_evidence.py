"""What a device's counters say of being bound by memory or arithmetic: beside what operators tell,
or (memory) without them.
"""

from typing import Final

import msgspec

from perfscope.analyzer.counters.bound_by_counters import busiest
from perfscope.analyzer.counters.counter_bound import (
    CounterBound,
    counter_bound,
    why_not_measurable,
)
from perfscope.analyzer.counters.device_finding import called, evidence, finding
from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.traces.trace import Trace

BANDWIDTH: Final = "memory-bandwidth"
ACTIONS: Final = (
    Action("when decoding: a larger batch reads the weights once for more tokens"),
    Action("fewer bytes: weights and caches in 8 bits, bfloat16 in place of float32"),
    Action("fuse operators that follow each other", "model = torch.compile(model)"),
)


def why_not(trace: Trace, reason: str) -> str | None:
    """Why memory cannot be told to be what limits, when operators do not tell: nothing where
    counters do.
    """
    if trace.has_profiled_work or not trace.fact(device_use):
        return reason
    unmeasured = why_not_measurable(trace)
    return None if unmeasured is None else f"{reason}; {unmeasured}"


def with_counters(found: Finding | None, trace: Trace, id: str, limits: Limits) -> Finding | None:
    """The finding that operators give, with the counters of its device beside it; without it what
    counters alone show.

    They do not say what could be had back: then no loss is given.
    """
    told = bound_to(trace, BANDWIDTH)
    if found is not None or told is None:
        return beside(found, trace, BANDWIDTH)
    return finding(
        told.use,
        id,
        0.0,
        limits,
        info=True,
        message=Message(
            f"Memory-bound: {called(told.use, trace)} uses {percent(told.use.means['dram_active'])}"
            " of its memory bandwidth",
            "About 80 % is the most that can be reached. Its arithmetic units are far from their"
            " peak.",
            "Faster arithmetic would not help.",
        ),
        evidence=facts(told),
        actions=list(ACTIONS),
    )


def bound_to(trace: Trace, resource: str) -> CounterBound | None:
    """The device of the job that its counters show bound by this resource, None when none is."""
    told = None if trace.has_profiled_work else busiest(trace.fact(counter_bound))
    return told if told is not None and told.id == resource else None


def beside(found: Finding | None, trace: Trace, resource: str) -> Finding | None:
    """A finding from operators with what the counters say, where these name the same resource."""
    told = bound_to(trace, resource)
    if found is None or told is None:
        return found
    return msgspec.structs.replace(found, evidence=[*found.evidence, *facts(told)])


def facts(told: CounterBound) -> list[Evidence]:
    """DRAM, arithmetic and SM activity: warps that wait for memory count as active."""
    means = told.use.means
    return [
        evidence(
            told.use,
            "DRAM bandwidth of its peak (about 0.8 can be reached)",
            means["dram_active"],
            "share",
        ),
        evidence(
            told.use,
            f"busiest pipe ({told.pipe.removesuffix('_active')})",
            means.get(told.pipe),
            "share",
        ),
        evidence(told.use, "SM activity; warps that wait count as active", told.sm_active, "share"),
    ]
