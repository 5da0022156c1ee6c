"""The device is idle while the host works.

What it means
    For much of the time no kernel runs on the device of the job, while the main thread is busy:
    Python, preprocessing in the training process, or operator dispatch launches work too slowly.

How it is detected
    Observed from outside (`--depth observe`, or a program without torch): the driver's share of
    time with a kernel is below one half, and samples show the main thread running or waiting for a
    core at least half of the time. A kernel of any size counts as busy, so the device is idle in
    the rest of the time.

What to do
    Attach at depth `probe`: it times steps, the waits for the loader and its workers, and shows
    which of them it is. Then move work off the main thread, into workers or onto the device.

When it is wrong
    A job may compute on the CPU on purpose and use the device only occasionally. The driver's share
    is over the last sixth of a second to a second: short gaps between kernels do not show.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.counters.host_and_device import HostAndDevice, host_and_device
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.loops.steps import steady
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "idle-device"
STEPS_ARE_TIMED = Unmet(
    "other", "steps were timed: the time budget shows what the host does while the device waits"
)
ATTACH_PROBE = Advice(
    id="measure-host-with-probe",
    text="measure what the host does",
    precondition="observed-from-outside",
    holds_when="The recording has no timed steps.",
)
MOVE_HOST_WORK = Advice(
    id="move-work-off-main-thread",
    text="move work from the main thread into loader workers or onto the device",
    precondition="main-thread-is-busy",
    holds_when="The main thread is busy at least half of the time.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs the load of the device. With timed steps, their budget shows what the host does.
    """
    unmet = no_devices(trace)
    if unmet is not None:
        return unmet
    if len(steady(trace.fact(time_budget))):
        return STEPS_ARE_TIMED
    if not trace.fact(host_and_device):
        return Unmet("other", trace.fact(device_use)[0].why_missing("kernel_time_share"))
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the device that is idle most while its main thread works."""
    idle = [
        both
        for both in trace.fact(host_and_device)
        if 1.0 - both.device_busy >= limits.main_cause_share
        and both.host_busy >= limits.main_cause_share
    ]
    if not idle:
        return None
    worst = min(idle, key=lambda both: both.device_busy)
    device_idle, label = 1.0 - worst.device_busy, device_label(worst.use, trace)
    main_thread = "the main thread runs or waits for a core"
    return device_finding(
        worst.use,
        ID,
        min(device_idle, worst.host_busy),
        limits,
        message=Message(
            f"Idle device: {label} runs no kernel {percent(device_idle)} of the time",
            f"The main thread of its process is busy {percent(worst.host_busy)} of the time: the"
            " CPU launches work too slowly.",
        ),
        evidence=[
            device_evidence(worst.use, "time with any kernel", worst.device_busy, "share"),
            device_evidence(worst.use, main_thread, worst.host_busy, "share"),
        ],
        actions=busier_device(trace, worst),
        scope="run",
    )


def busier_device(trace: Trace, worst: HostAndDevice) -> list[Action]:
    """Return how to find what the host does, and how to relieve it."""
    timed = len(steady(trace.fact(time_budget)))
    return [
        *ATTACH_PROBE.given(
            timed == 0,
            f"{timed} timed steps, recorded at depth {manifest(trace).depth}",
            snippet="perfscope attach PID   # without --depth observe",
        ),
        *MOVE_HOST_WORK.given(
            True, f"the main thread is busy {percent(worst.host_busy)} of the time"
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters", "thread_states"),
    in_traces=False,
    advice=(ATTACH_PROBE, MOVE_HOST_WORK),
    color="other-idle",
)
