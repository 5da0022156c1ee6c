"""Another job uses a device of this one.

What it means
    Kernels of different processes take turns on a device: each runs as if the device were slower,
    at irregular times, and each has less memory.

How it is detected
    The driver lists the processes on the device. Those that do not belong to the job (outside its
    process tree) are reported with name and owner where these are visible, with their memory and
    the share of the time in which their kernels ran.

What to do
    Ask the owner, or move: `CUDA_VISIBLE_DEVICES` to a free device, an exclusive request to the
    scheduler (`--gpus-per-task`), MIG where sharing is wanted.

When it is wrong
    Jobs may share a device on purpose (MPS). A notebook that is left open holds memory and computes
    nothing: it is reported as information. A process of the job that left its tree (a daemon)
    counts as another job's. The driver reports when kernels ran and not how much of the device they
    used: the loss is a ceiling.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.devices.device_sharing import ForeignProcess, foreign_processes
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import megabytes, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "shared-gpu"
MOST_PROCESSES = 5
LIST_PROCESSES = Advice(
    id="list-gpu-processes",
    text="list the processes on each GPU",
    precondition="other-job-on-device",
    holds_when="The driver lists a process of another job on a device of this one.",
)
USE_FREE_DEVICE = Advice(
    id="use-exclusive-device",
    text="use a device that no other job uses",
    precondition="other-job-on-device",
    holds_when="The driver lists a process of another job on a device of this one.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the driver's list of processes."""
    return no_devices(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the device on which other jobs are busiest."""
    others = trace.fact(foreign_processes)
    if not others:
        return None
    worst = max(
        others, key=lambda other: (busy_share_of_others(other, others), kernel_share(other))
    )
    share = busy_share_of_others(worst, others)
    computes = share >= limits.worth_share
    return device_finding(
        worst.use,
        ID,
        share,
        limits,
        is_info=not computes,
        message=Message(
            f"Shared GPU: another job uses {device_label(worst.use, trace)}",
            sharing_text(worst, others, share, computes=computes),
        ),
        evidence=[evidence_of_process(other) for other in others[:MOST_PROCESSES]],
        actions=undisturbed_device(worst),
    )


def kernel_share(other: ForeignProcess) -> float:
    """Return the share of the time with kernels of a process, 0 where it is unknown."""
    return other.sm_share or 0.0


def busy_share_of_others(process: ForeignProcess, others: list[ForeignProcess]) -> float:
    """Return the largest share of the time with kernels of any other job on the same device."""
    return min(sum(kernel_share(other) for other in others if other.use is process.use), 1.0)


def sharing_text(
    worst: ForeignProcess, others: list[ForeignProcess], share: float, *, computes: bool
) -> str:
    """Return what the busiest process does on the device, and how many more there are."""
    memory = megabytes(max(worst.memory_bytes, 0))
    doing = "it computes almost nothing"
    if computes:
        doing = f"its kernels ran {percent(kernel_share(worst))} of the time"
    text = f"It is {process_label(worst)}: {doing}, and it holds {memory} of the memory."
    more = sum(other.use is worst.use for other in others) - 1
    if more and computes:
        text += (
            f" With {plural(more, 'more process')} on the device, other jobs run {percent(share)}"
            " of the time."
        )
    return text


def process_label(other: ForeignProcess) -> str:
    """Return `python (pid 4711, of alice)`."""
    name = other.name or "a process that is not visible here (another container)"
    owner = f", of {other.user}" if other.user else ""
    return f"{name} (pid {other.pid}{owner})"


def evidence_of_process(other: ForeignProcess) -> Evidence:
    """Return the share of the time with kernels of one process."""
    text = f"{process_label(other)}: share of the time with its kernels"
    return device_evidence(other.use, text, other.sm_share, "share", other.seen)


def undisturbed_device(worst: ForeignProcess) -> list[Action]:
    """Return how to find the other jobs, and how to avoid them."""
    evidence = f"pid {worst.pid} is on device {worst.use.device}"
    return [
        *LIST_PROCESSES.given(True, evidence, snippet="perfscope ps   # or nvidia-smi"),
        *USE_FREE_DEVICE.given(True, evidence, snippet="CUDA_VISIBLE_DEVICES=<a free one>"),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters", "device_processes"),
    in_traces=False,
    advice=(LIST_PROCESSES, USE_FREE_DEVICE),
    color="device-compute",
)
