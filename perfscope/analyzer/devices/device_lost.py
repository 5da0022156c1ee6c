"""A device stops answering while the job runs: it fell off the bus, or needs a reset.

What it means
    The driver no longer reaches the device. What was on it is gone, every call to it fails or hangs
    from then on, and ranks that wait for the one that used it wait until their collectives time
    out. The host or the run has to be started again.

How it is detected
    NVML answers that the device is lost, or that it needs a reset; a critical error (Xid, often 79)
    that the driver reported of it is told with it. A driver that goes away as a whole (reloaded, or
    changed under its library) is another matter: that leaves a gap in the recording and says
    nothing about the devices.

What to do
    End the run and start it again from its last checkpoint, on other devices. Have the host looked
    at (power, seating, riser, temperature): a device that was lost once is usually lost again.

When it is wrong
    Which device the job uses is told by the driver: where it does not list processes, a lost device
    that the job never used may be counted as its own when it is the only one. The cost runs from
    the loss to the end of the recording and not of the run.
"""

import msgspec

from perfscope.analyzer.counters.device_finding import called, evidence, no_devices
from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.counters.lost_devices import Loss, losses
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "device-lost"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device whose counters were read, whoever uses it."""
    return no_devices(trace) if not trace.fact(losses) else None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The first loss of a device that the job uses; of others it is only told."""
    found = sorted(trace.fact(losses), key=lambda one: (not in_use(one, trace), one.begin_ns))
    if not found:
        return None
    first = found[0]
    used = in_use(first, trace)
    span_ns = max(first.recorded_ns[1] - first.recorded_ns[0], 1)
    lost_ns = first.recorded_ns[1] - first.begin_ns if used else 0
    back = (
        ""
        if first.end_ns >= first.recorded_ns[1]
        else f" It answered again {digits(first.dur_s)} s later."
    )
    effect = (
        "Work on it is lost, and ranks that wait for it will hang."
        if used
        else "The job does not use it."
    )
    return Finding(
        id=ID,
        cause=None,
        severity="critical" if used else "warning",
        rank=first.use.ranks[0] if first.use.ranks else None,
        lost_s=round(lost_ns / 1e9, 4),
        share=round(lost_ns / span_ns, 4),
        speedup=None,
        headline=(
            f"Device lost: {called(first.use, trace)} stopped answering {digits(first.after_s)} s"
            " into the recording"
        ),
        explanation=f"The driver reports: {first.reason}. {effect}{back}",
        evidence=[shown for one in found[:8] for shown in evidence_of(one)],
        actions=[
            Action("stop the run and restart it from its last checkpoint on other devices"),
            Action(
                "report the device to the operator of the machine",
                f"dmesg | grep -i xid\nnvidia-smi -q -i {first.use.device}",
            ),
        ],
    )


def in_use(loss: Loss, trace: Trace) -> bool:
    """Does the job use the lost device?"""
    return any(loss.use is one for one in trace.fact(device_use))


def evidence_of(loss: Loss) -> list[Evidence]:
    """When it did not answer, and what the driver reported of it."""
    at = loss.begin_ns, loss.end_ns
    found = [
        evidence(
            loss.use,
            f"device {loss.use.device} did not answer ({loss.reason})",
            loss.dur_s,
            "s",
            at,
        )
    ]
    return found + [
        msgspec.structs.replace(
            evidence(
                loss.use, "critical error that the driver reported", float(code), "Xid", (ts, ts)
            ),
            text=f"the driver reported critical error Xid {code}",
        )
        for ts, code in loss.xids
    ]


RULE = Rule(
    ID, not_applicable, detect, needs=("device_counters",), in_traces=False, ends_the_run=True
)
