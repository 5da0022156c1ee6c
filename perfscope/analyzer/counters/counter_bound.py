"""What a device was busy with, by its counters (GPM): its memory, its arithmetic, or neither.

Warps that wait count as active, so SM activity alone says little: a kernel that waits for memory
keeps it at one. What tells is how near the memory and the arithmetic pipes came to what they reach
in practice.
"""

from dataclasses import dataclass
from typing import Final

from perfscope.analyzer.counters.device_use import DeviceUse, device_use
from perfscope.traces.trace import Trace

DRAM_CEILING: Final = 0.8
"""Of the theoretical bandwidth, in practice (NVIDIA's DCGM guide)."""
TENSOR_CEILING: Final = 0.93
"""What NVIDIA's own stress test (dcgmproftester) reaches, as KempnerPulse's documentation has it.
"""
BOUND: Final = 0.5
"""Of its ceiling: from here on a pipe is what the work goes into (METHODS: pipe ratio of at least a
half).
"""
FILLED: Final = 0.5
"""SM activity below it is "likely ineffective use of the GPU" (DCGM guide)."""
PIPES: Final = ("tensor_active", "fp64_active", "fp32_active", "fp16_active")
WANTED: Final = ("sm_active", "dram_active", "tensor_active")


@dataclass(frozen=True)
class CounterBound:
    """`id`: memory-bandwidth, compute, latency (SMs full, neither near its ceiling) or idle-sms
    (most SMs empty).

    `memory` and `compute`: how near their ceilings, 0..1. `kernel_time_share` is what `nvidia-smi`
    calls GPU utilisation.
    """

    use: DeviceUse
    id: str
    memory: float
    compute: float
    pipe: str
    sm_active: float
    kernel_time_share: float | None


def counter_bound(trace: Trace) -> list[CounterBound]:
    """One for each device of the job with GPM counters."""
    return [
        of_device(use)
        for use in trace.fact(device_use)
        if all(name in use.means for name in WANTED)
    ]


def of_device(use: DeviceUse) -> CounterBound:
    means = use.means
    pipe = max(PIPES, key=lambda name: means.get(name, 0.0))
    memory = min(means["dram_active"] / DRAM_CEILING, 1.0)
    compute = min(means.get(pipe, 0.0) / TENSOR_CEILING, 1.0)
    if max(memory, compute) >= BOUND:
        id = "memory-bandwidth" if memory > compute else "compute"
    else:
        id = "latency" if means["sm_active"] >= FILLED else "idle-sms"
    return CounterBound(use, id, memory, compute, pipe, means["sm_active"], busy_share(use))


def busy_share(use: DeviceUse) -> float | None:
    """The share of the time with any kernel; a MIG instance has GPM's figure only."""
    return use.means.get("kernel_time_share", use.means.get("graphics_active"))


def why_not_measurable(trace: Trace) -> str | None:
    """Why no device of the job can say what it is busy with, None when one can."""
    uses = trace.fact(device_use)
    if not uses or trace.fact(counter_bound):
        return None
    return uses[0].why_missing("sm_active", "dram_active")
