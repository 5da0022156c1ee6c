"""Low occupancy by counters: kernels run all the time, on few of the device's multiprocessors."""

from perfscope.analyzer.counters.counter_bound import counter_bound, why_not_measurable
from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.traces.trace import Trace


def why_not(trace: Trace) -> str | None:
    """Needs GPM on a device of the job."""
    return no_devices(trace) or why_not_measurable(trace)


def detect(trace: Trace, id: str, limits: Limits) -> Finding | None:
    """The emptiest device that looks busy."""
    empty = [
        one
        for one in trace.fact(counter_bound)
        if one.id == "idle-sms"
        and one.kernel_time_share is not None
        and one.kernel_time_share >= limits.busy_share
    ]
    if not empty:
        return None
    worst = min(empty, key=lambda one: one.sm_active)
    use, busy = worst.use, worst.kernel_time_share or 0.0
    return finding(
        use,
        id,
        busy * (1.0 - worst.sm_active),
        limits,
        message=Message(
            f"Low occupancy: {percent(worst.sm_active)} of the multiprocessors of"
            f" {called(use, trace)} have work",
            f"It runs kernels {percent(busy)} of the time, but they are too small to fill it.",
        ),
        evidence=[
            evidence(
                use, "time with any kernel (what nvidia-smi calls utilization)", busy, "share"
            ),
            evidence(use, "SM activity", worst.sm_active, "share"),
            evidence(use, "tensor-core activity", use.means.get("tensor_active"), "share"),
            evidence(use, "DRAM bandwidth of its peak", use.means.get("dram_active"), "share"),
        ],
        actions=[
            Action("give each launch more work: a larger batch or longer sequences"),
            Action("fuse small kernels", "model = torch.compile(model)"),
        ],
    )
