"""Another job uses a device of this one.

What it means
    Kernels of different processes take turns on a device: each runs as if the device were slower,
    at times that look like noise, and each has less memory.

How it is detected
    The driver lists the processes on the device; those that are not of the job (no process of its
    tree) are named as far as they can be seen from here, with their memory and the share of the
    time in which their kernels ran.

What to do
    Ask its owner, or move: `CUDA_VISIBLE_DEVICES` to a free device, an exclusive request to the
    scheduler (`--gpus-per-task`), MIG where sharing is wanted.

When it is wrong
    Jobs that share on purpose (MPS, a notebook left open that holds memory and computes nothing:
    then it is only told). A process of the job that left its tree (a daemon of its own) counts as
    another's. The driver's share says when kernels ran and not how much of the device they took:
    the loss is a ceiling.
"""

from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.devices.device_sharing import Stranger, strangers
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import megabytes, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "shared-gpu"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the driver's list of processes."""
    return no_devices(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The device on which others are busiest, with their busiest process; the rest as evidence."""
    others = trace.fact(strangers)
    if not others:
        return None
    worst = max(others, key=lambda one: (together(one, others), one.sm_share or 0.0))
    share = together(worst, others)
    works = share >= limits.worth_share
    doing = (
        f"its kernels ran {percent(worst.sm_share or 0.0)} of the time"
        if works
        else "it computes almost nothing"
    )
    more = sum(one.use is worst.use for one in others) - 1
    rest = (
        f" With {plural(more, 'more process')} on the device, other jobs run {percent(share)} of"
        " the time."
        if more
        else ""
    )
    return finding(
        worst.use,
        ID,
        share,
        limits,
        info=not works,
        message=Message(
            f"Shared GPU: another job uses {called(worst.use, trace)}",
            f"It is {who(worst)}: {doing}, and it holds {megabytes(max(worst.memory_bytes, 0))} of"
            f" the memory.{rest if works else ''}",
        ),
        evidence=[
            evidence(
                one.use,
                f"{who(one)}: share of the time with kernels of it",
                one.sm_share,
                "share",
                one.seen,
            )
            for one in others[:5]
        ],
        actions=[
            Action("list the processes on each GPU", "perfscope ps   # or nvidia-smi"),
            Action("use a device of your own", "CUDA_VISIBLE_DEVICES=<a free one>"),
        ],
    )


def together(one: Stranger, others: list[Stranger]) -> float:
    """The share of the time with kernels of any of the others on this one's device, at most: they
    take turns.
    """
    return min(sum(each.sm_share or 0.0 for each in others if each.use is one.use), 1.0)


def who(one: Stranger) -> str:
    """`python (pid 4711, of alice)`."""
    name = one.name or "a process that cannot be seen from here (another container)"
    return f"{name} (pid {one.pid}" + (f", of {one.user})" if one.user else ")")


RULE = Rule(
    ID, not_applicable, detect, needs=("device_counters", "device_processes"), in_traces=False
)
