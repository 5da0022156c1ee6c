"""The device runs slower than it could because of heat or its power supply.

What it means
    The chip or its memory is too hot, or the server asked the card to halve its clocks (power
    brake). Every kernel takes longer in proportion, on this device only: in a job of several ranks
    all others wait for it.

How it is detected
    The driver counts the time in which temperature limited the clocks, and reports at each sample
    what limits them. It is reported from 5 % of the time on; the loss is that time, multiplied by
    the fraction by which the clock was below its unlimited value (the highest that was read while
    nothing limited it, else the boost clock).

What to do
    Check fans, air flow and filters; compare with the temperatures of the neighboring devices;
    report it to the operator of the machine. Meanwhile exclude the device from the job, or lower
    the power limit of all devices to the same value, so that no rank waits for another.

When it is wrong
    Work that waits for memory hardly slows with the SM clock: the loss is a ceiling.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.devices.clock_limits import (
    BRAKE,
    HARDWARE,
    SYNC,
    THERMAL,
    ClockHold,
    clock_holds,
    no_clock_reasons,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.traces.trace import Trace

ID = "throttled"
THROTTLING = (THERMAL, BRAKE, HARDWARE, SYNC)
CHECK_COOLING = Advice(
    id="check-cooling",
    text="check the cooling and the power supply of the machine",
    precondition="clocks-are-held",
    holds_when="The driver reports that heat or power supply limited the clocks.",
)
EXCLUDE_DEVICE = Advice(
    id="exclude-throttled-device",
    text="exclude this device until it is repaired",
    precondition="clocks-are-held",
    holds_when="The driver reports that heat or power supply limited the clocks.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the driver's reasons for lower clocks."""
    return no_devices(trace) or no_clock_reasons(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the reason that costs most."""
    holds = [
        hold
        for hold in trace.fact(clock_holds)
        if hold.reason in THROTTLING and hold.share >= limits.held_share
    ]
    if not holds:
        return None
    worst = max(holds, key=lambda hold: hold.cost_share)
    explanation = f"The reason the driver reports is {worst.reason.text}."
    if worst.free_mhz and worst.slower:
        explanation += (
            f" Meanwhile the clock is {percent(worst.slower)} below {digits(worst.free_mhz)} MHz."
        )
    label = device_label(worst.use, trace)
    return device_finding(
        worst.use,
        ID,
        worst.cost_share,
        limits,
        cause=worst.reason.name,
        message=Message(
            f"Throttled: {label} runs at reduced clocks {percent(worst.share)} of the time",
            explanation,
        ),
        evidence=clock_hold_evidence(worst),
        actions=cooling_actions(worst),
    )


def clock_hold_evidence(hold: ClockHold) -> list[Evidence]:
    """Return how long the clocks were limited, the clocks, and the temperature if it was read."""
    use = hold.use
    held = f"limited by {hold.reason.text} ({hold.source})"
    found = [
        device_evidence(use, held, hold.seconds, "s", hold.at),
        device_evidence(use, "SM clock meanwhile", hold.clock_mhz, "MHz", hold.at),
        device_evidence(use, "SM clock without the limit", hold.free_mhz, "MHz"),
    ]
    temperature = use.means.get("temperature_c")
    if temperature is not None:
        found.append(device_evidence(use, "temperature", temperature, "C"))
    return found


def cooling_actions(hold: ClockHold) -> list[Action]:
    """Return the advice to check the cooling, and to exclude the device."""
    evidence = f"limited by {hold.reason.text} for {percent(hold.share)} of the time"
    return [
        *CHECK_COOLING.given(
            True, evidence, snippet="nvidia-smi -q -d TEMPERATURE,PERFORMANCE,POWER"
        ),
        *EXCLUDE_DEVICE.given(
            True, evidence, snippet=f"CUDA_VISIBLE_DEVICES=<all but {hold.use.device}>"
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    advice=(CHECK_COOLING, EXCLUDE_DEVICE),
    color="device-compute",
)
