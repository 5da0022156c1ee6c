"""What keeps a device busy according to its counters (GPM): its memory, its arithmetic, or neither.

Warps that wait count as active, so SM activity alone does not show what limits: a kernel that waits
for memory keeps it at one. What shows it is how near the memory and the arithmetic pipes come to
what they reach in practice.
"""

from dataclasses import dataclass
from typing import Final

from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, device_use
from perfscope.traces.trace import Trace

DRAM_CEILING: Final = 0.8
"""The share of the theoretical bandwidth that is reached in practice (NVIDIA's DCGM guide)."""
TENSOR_CEILING: Final = 0.93
"""What NVIDIA's own stress test (dcgmproftester) reaches, according to KempnerPulse's docs."""
PIPES: Final = ("tensor_active", "fp64_active", "fp32_active", "fp16_active")
REQUIRED: Final = ("sm_active", "dram_active", "tensor_active")


@dataclass(frozen=True)
class CounterBound:
    """What limits one device.

    `id`: memory-bandwidth, compute, latency (SMs full, neither near its ceiling) or idle-sms (most
    SMs empty). `memory` and `compute`: how near their ceilings, 0..1. `kernel_time_share` is what
    `nvidia-smi` calls GPU utilization.
    """

    use: DeviceUse
    id: str
    memory: float
    compute: float
    pipe: str
    sm_active: float
    kernel_time_share: float | None


def counter_bound(trace: Trace) -> list[CounterBound]:
    """Return what limits each device of the job that has GPM counters."""
    return [
        bound_of_device(use)
        for use in trace.fact(device_use)
        if all(name in use.means for name in REQUIRED)
    ]


def bound_of_device(use: DeviceUse) -> CounterBound:
    """Return what limits one device."""
    means = use.means
    pipe = max(PIPES, key=lambda name: means.get(name, 0.0))
    memory = min(means["dram_active"] / DRAM_CEILING, 1.0)
    compute = min(means.get(pipe, 0.0) / TENSOR_CEILING, 1.0)
    sm_active = means["sm_active"]
    if max(memory, compute) >= LIMITS.pipe_busy:
        id = "memory-bandwidth" if memory > compute else "compute"
    else:
        id = "latency" if sm_active >= LIMITS.sms_filled else "idle-sms"
    return CounterBound(use, id, memory, compute, pipe, sm_active, kernel_time_share(use))


def kernel_time_share(use: DeviceUse) -> float | None:
    """Return the share of the time with any kernel; a MIG instance has GPM's figure only."""
    return use.means.get("kernel_time_share", use.means.get("graphics_active"))


def why_not_measurable(trace: Trace) -> Unmet | None:
    """Return why no device of the job has GPM counters, None when one has."""
    uses = trace.fact(device_use)
    if not uses or trace.fact(counter_bound):
        return None
    return Unmet("other", uses[0].why_missing("sm_active", "dram_active"))
