"""The device stands idle while the host works.

What it means
    For much of the time no kernel ran on the device of the job, while the main thread computed:
    Python, preprocessing in the training process, or the calling of operators feeds the device too
    slowly.

How it is detected
    Looked at from outside (`--depth observe`, or a program without torch): the driver's share of
    time with a kernel is below a half, and samples of the main thread show it running or waiting
    for a core at least half of the time. A kernel of any size counts as work of the device, so what
    is idle here is idle.

What to do
    Attach at depth `probe`: it times steps, the loader's waits and the workers, and tells which of
    them it is. Then move work off the main thread, into workers or onto the device.

When it is wrong
    A job that computes on the CPU on purpose and uses the device now and then. The driver's share
    is over its last sixth of a second to a second: short idle times between kernels do not show.
"""

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.counters.host_and_device import host_and_device
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.steps import steady
from perfscope.traces.trace import Trace

ID = "idle-device"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the device's load; where steps are timed, their budget says what the host does."""
    reason = no_devices(trace)
    if reason is not None:
        return reason
    if len(steady(trace.fact(time_budget))):
        return "steps were timed: the time budget says what the host does while the device waits"
    if not trace.fact(host_and_device):
        return trace.fact(device_use)[0].why_missing("kernel_time_share")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The device that is idle most while its process's main thread works."""
    idle = [
        one
        for one in trace.fact(host_and_device)
        if 1.0 - one.device_busy >= limits.explains and one.host_busy >= limits.explains
    ]
    if not idle:
        return None
    worst = min(idle, key=lambda one: one.device_busy)
    share = min(1.0 - worst.device_busy, worst.host_busy)
    return finding(
        worst.use,
        ID,
        share,
        limits,
        message=Message(
            f"Idle device: {called(worst.use, trace)} runs no kernel"
            f" {percent(1.0 - worst.device_busy)} of the time",
            f"The main thread of its process is busy {percent(worst.host_busy)} of the time: the"
            " CPU launches work too slowly.",
        ),
        evidence=[
            evidence(worst.use, "time with any kernel", worst.device_busy, "share"),
            evidence(
                worst.use, "the main thread runs or waits for a core", worst.host_busy, "share"
            ),
        ],
        actions=[
            Action(
                "measure what the host does", "perfscope attach PID   # without --depth observe"
            ),
            Action("move work from the main thread into loader workers or onto the device"),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("device_counters", "thread_states"), in_traces=False)
