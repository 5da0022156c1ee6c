"""Low occupancy by counters: kernels run nearly all the time, on few multiprocessors."""

from typing import Final

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.counters.counter_bound import (
    CounterBound,
    counter_bound,
    why_not_measurable,
)
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Unmet
from perfscope.traces.trace import Trace

MORE_WORK_PER_LAUNCH: Final = Advice(
    id="give-launches-more-work",
    text="give each launch more work: a larger batch or longer sequences",
    precondition="multiprocessors-idle",
    holds_when="Less than half of the multiprocessors have work while kernels run.",
)
FUSE_SMALL_KERNELS: Final = Advice(
    id="fuse-small-kernels",
    text="fuse small kernels",
    precondition="not-compiled",
    holds_when="Operators were recorded, and none of them is code that torch.compile compiled.",
)


def no_activity_counters(trace: Trace) -> Unmet | None:
    """Return why no device of the job reports SM activity, None when one does."""
    return no_devices(trace) or why_not_measurable(trace)


def low_occupancy_by_counters(trace: Trace, id: str, limits: Limits) -> Finding | None:
    """Return the finding about the device that runs kernels nearly all the time on fewest SMs."""
    idle = [
        bound
        for bound in trace.fact(counter_bound)
        if bound.id == "idle-sms" and (bound.kernel_time_share or 0.0) >= limits.busy_share
    ]
    if not idle:
        return None
    worst = min(idle, key=lambda bound: bound.sm_active)
    use, busy = worst.use, worst.kernel_time_share or 0.0
    utilization = "time with any kernel (what nvidia-smi calls utilization)"
    tensor, memory = use.means.get("tensor_active"), use.means.get("dram_active")
    return device_finding(
        use,
        id,
        busy * (1.0 - worst.sm_active),
        limits,
        message=Message(
            f"Low occupancy: {percent(worst.sm_active)} of the multiprocessors of"
            f" {device_label(use, trace)} have work",
            f"It runs kernels {percent(busy)} of the time, but they are too small to fill it.",
        ),
        evidence=[
            device_evidence(use, utilization, busy, "share"),
            device_evidence(use, "SM activity", worst.sm_active, "share"),
            device_evidence(use, "tensor-core activity", tensor, "share"),
            device_evidence(use, "DRAM bandwidth of its peak", memory, "share"),
        ],
        actions=fuller_launches(trace, worst),
    )


def fuller_launches(trace: Trace, bound: CounterBound) -> list[Action]:
    """Return the changes that fill the device and fit its processes."""
    actions = MORE_WORK_PER_LAUNCH.given(
        True, f"SM activity {percent(bound.sm_active)} while kernels run"
    )
    for process in bound.use.processes[:1]:
        compiled = compiled_code(trace, process)
        actions += FUSE_SMALL_KERNELS.given(
            compiled.is_eager, compiled.text, snippet="model = torch.compile(model)"
        )
    return actions
