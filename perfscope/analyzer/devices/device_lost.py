"""A device stops answering while the job runs: it fell off the bus, or needs a reset.

What it means
    The driver no longer reaches the device. Its memory is lost, every call to it fails or hangs
    from then on, and ranks that wait for the rank that used it wait until their collectives time
    out. The host or the run has to be restarted.

How it is detected
    NVML reports that the device is lost, or that it needs a reset. A critical error (Xid, often 79)
    that the driver reported for it is listed as evidence. A driver that goes away entirely
    (reloaded, or changed under its library) is not reported as a finding: it leaves a gap in the
    recording and says nothing about the devices.

What to do
    Stop the run and restart it from its last checkpoint on other devices. Have the host checked
    (power, seating, riser, temperature): a device that was lost once is usually lost again.

When it is wrong
    The driver reports which devices the job uses. Where it does not list processes, a lost device
    that the job never used may be attributed to it when it is the only one. The loss is counted to
    the end of the recording, not of the run.
"""

import msgspec

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_label,
    no_devices,
)
from perfscope.analyzer.counters.lost_devices import DeviceLoss, device_losses
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.traces.trace import Trace

ID = "device-lost"
MOST_LOSSES = 8
RESTART = Advice(
    id="restart-on-other-devices",
    text="stop the run and restart it from its last checkpoint on other devices",
    precondition="lost-device-is-used",
    holds_when="The job uses the device that stopped answering.",
)
REPORT_DEVICE = Advice(
    id="report-lost-device",
    text="report the device to the operator of the machine",
    precondition="device-stopped-answering",
    holds_when="The driver reported that it does not reach the device.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no counters of a device, of any job, were read."""
    return None if trace.fact(device_losses) else no_devices(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the first loss of a device that the job uses, else that of another device."""
    losses = trace.fact(device_losses)
    if not losses:
        return None
    losses = sorted(losses, key=lambda loss: (not is_used(loss, trace), loss.begin_ns))
    first = losses[0]
    used = is_used(first, trace)
    begin_ns, end_ns = first.recorded_ns
    lost_ns = end_ns - first.begin_ns if used else 0
    label = device_label(first.use, trace)
    return Finding(
        id=ID,
        cause=None,
        severity="critical" if used else "warning",
        lost_s=round(lost_ns / 1e9, 4),
        share=round(lost_ns / max(end_ns - begin_ns, 1), 4),
        speedup=None,
        headline=(
            f"Device lost: {label} stopped answering {digits(first.after_s)} s into the recording"
        ),
        explanation=explanation_of_loss(first, used=used),
        evidence=[fact for loss in losses[:MOST_LOSSES] for fact in evidence_of_loss(loss)],
        actions=actions_after_loss(first, used=used),
        processes=list(first.use.processes),
        devices=[first.use.device],
        scope="run",
    )


def is_used(loss: DeviceLoss, trace: Trace) -> bool:
    """Return whether the job uses the lost device."""
    return any(loss.use is use for use in trace.fact(device_use))


def explanation_of_loss(loss: DeviceLoss, *, used: bool) -> str:
    """Return the driver's reason, the effect on the job, and whether the device came back."""
    effect = "The job does not use it."
    if used:
        effect = "Work on it is lost, and ranks that wait for it will hang."
    text = f"The driver reports: {loss.reason}. {effect}"
    if loss.end_ns < loss.recorded_ns[1]:
        text += f" It answered again {digits(loss.dur_s)} s later."
    return text


def evidence_of_loss(loss: DeviceLoss) -> list[Evidence]:
    """Return when the device did not answer, and the critical errors that were reported for it."""
    text = f"device {loss.use.device} did not answer ({loss.reason})"
    gap_ns = loss.begin_ns, loss.end_ns
    return [
        device_evidence(loss.use, text, loss.dur_s, "s", gap_ns),
        *(xid_evidence(loss, code, ts) for ts, code in loss.xids),
    ]


def xid_evidence(loss: DeviceLoss, code: int, ts: int) -> Evidence:
    """Return one critical error that the driver reported."""
    reported = device_evidence(loss.use, "critical error", float(code), "Xid", (ts, ts))
    text = f"the driver reported critical error Xid {code}"
    return msgspec.structs.replace(reported, text=text)


def actions_after_loss(loss: DeviceLoss, *, used: bool) -> list[Action]:
    """Return what to do about the run and about the device."""
    return [
        *RESTART.given(used, f"it stopped answering {digits(loss.after_s)} s into the recording"),
        *REPORT_DEVICE.given(
            True,
            f"the driver reports: {loss.reason}",
            snippet=f"dmesg | grep -i xid\nnvidia-smi -q -i {loss.use.device}",
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    outranks_others_if_critical=True,
    advice=(RESTART, REPORT_DEVICE),
    color="other-idle",
)
