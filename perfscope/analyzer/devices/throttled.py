"""The device runs slower than it could because of heat or its power supply.

What it means
    The chip or its memory is too hot, or the server asked the card to halve its clocks (power
    brake). Every kernel takes longer in proportion, on this device only: in a job of several ranks
    all others wait for it.

How it is detected
    The driver counts the time in which temperature held the clocks, and says at each look what
    holds them. It is told from 5 % of the time on; the loss is that time times how far the clock
    lay below the one without (the highest seen while not held, else the boost clock).

What to do
    Look at fans, air flow and filters; compare with the neighbours' temperatures; tell whoever runs
    the machine. Meanwhile leave the device out of the job, or lower the power limit of all to the
    same figure, so that no rank waits for another.

When it is wrong
    Work that waits for memory hardly slows with the SM clock: the loss is a ceiling.
"""

from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.devices.clock_limits import (
    BRAKE,
    HARDWARE,
    SYNC,
    THERMAL,
    ClockHold,
    clock_holds,
    no_clock_reasons,
)
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "throttled"
REASONS = (THERMAL, BRAKE, HARDWARE, SYNC)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the driver's reasons for the clocks."""
    return no_devices(trace) or no_clock_reasons(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The reason that costs most."""
    holds = [
        one
        for one in trace.fact(clock_holds)
        if one.reason in REASONS and one.share >= limits.held_share
    ]
    if not holds:
        return None
    worst = max(holds, key=loss)
    use = worst.use
    temperature = use.means.get("temperature_c")
    facts = [
        evidence(
            use, f"held by {worst.reason.text} ({source(worst)})", worst.seconds, "s", worst.at
        ),
        evidence(use, "SM clock meanwhile", worst.clock_mhz, "MHz", worst.at),
        evidence(use, "SM clock without", worst.free_mhz, "MHz"),
    ]
    if temperature is not None:
        facts.append(evidence(use, "temperature", temperature, "C"))
    return finding(
        use,
        ID,
        loss(worst),
        limits,
        cause=worst.reason.name,
        message=Message(
            f"Throttled: {called(use, trace)} runs at reduced clocks {percent(worst.share)} of the"
            " time",
            f"The reason the driver reports is {worst.reason.text}."
            + (
                f" The clock is {percent(worst.slower)} below {digits(worst.free_mhz)} MHz"
                " meanwhile."
                if worst.free_mhz and worst.slower
                else ""
            ),
        ),
        evidence=facts,
        actions=[
            Action(
                "check the cooling and the power supply of the machine",
                "nvidia-smi -q -d TEMPERATURE,PERFORMANCE,POWER",
            ),
            Action(
                "exclude this device until it is repaired",
                f"CUDA_VISIBLE_DEVICES=<all but {use.device}>",
            ),
        ],
    )


def loss(hold: ClockHold) -> float:
    """The share of the time that the lower clock costs at most."""
    return hold.share * hold.slower * hold.use.means.get("kernel_time_share", 1.0)


def source(hold: ClockHold) -> str:
    return "counted by the driver" if hold.counted else "from samples"


RULE = Rule(ID, not_applicable, detect, needs=("device_counters",), in_traces=False)
