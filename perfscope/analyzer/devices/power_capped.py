"""The device runs slower than it could because its power limit is reached.

What it means
    The clocks are lowered so that the board stays within its limit. With the product's default
    limit this is normal for a heavily used device, and is reported as information. A limit that was
    lowered costs speed that could be regained.

How it is detected
    The driver counts the time in which the power limit reduced the clocks, and reports the limit
    and the default. If the limit was changed, the value during the reduction counts. The loss is
    that time, multiplied by the fraction by which the clock was below its unlimited value (the
    highest that was read while nothing limited it, else the boost clock).

What to do
    Raise the limit to the default where power and cooling allow it. A lower limit is right where
    the whole rack has a limit, or where energy matters: the last watts add little speed.

When it is wrong
    Work that waits for memory hardly slows with the SM clock: the loss is a ceiling. Some GeForce
    drivers report the power limit as a reason before clocks fall.
"""

import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.counters.device_finding_parts import (
    device_evidence,
    device_finding,
    device_label,
    no_devices,
)
from perfscope.analyzer.devices.clock_limits import POWER, ClockHold, clock_holds, no_clock_reasons
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.counter_series import (
    device_series,
    readings_within,
    time_mean,
)
from perfscope.traces.trace import Trace

ID = "power-capped"
RAISE_LIMIT = Advice(
    id="raise-power-limit",
    text="raise the limit to the default",
    precondition="power-limit-is-lowered",
    holds_when="The power limit that reduced the clocks is below the default of the product.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs the driver's reasons for lower clocks."""
    return no_devices(trace) or no_clock_reasons(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding about the device that its power limit slows most."""
    slowed = [
        hold
        for hold in trace.fact(clock_holds)
        if hold.reason is POWER
        and hold.share >= limits.held_share
        and hold.slower >= limits.worth_share
    ]
    if not slowed:
        return None
    worst = max(slowed, key=lambda hold: (is_lowered(trace, hold, limits), hold.cost_share))
    lowered = is_lowered(trace, worst, limits)
    return device_finding(
        worst.use,
        ID,
        worst.cost_share,
        limits,
        is_info=not lowered,
        cause="limit-lowered" if lowered else None,
        message=power_message(trace, worst, lowered=lowered),
        evidence=power_evidence(trace, worst),
        actions=raise_power_limit(trace, worst, lowered=lowered),
    )


def power_message(trace: Trace, hold: ClockHold, *, lowered: bool) -> Message:
    """Return how much the limit slows the device, and which limit it is."""
    limit, default = limit_w(trace, hold), hold.use.facts.power_default_limit_w
    reached = f"its limit of {digits(limit)} W" if limit > 0 else "its power limit"
    if lowered:
        reached += f"; the default is {digits(default)} W"
    elif default > 0:
        reached += ", which is the default"
    label = device_label(hold.use, trace)
    return Message(
        f"Power-capped: {label} runs at reduced clocks {percent(hold.share)} of the time",
        f"It reaches {reached}. Meanwhile its SM clock is {percent(hold.slower)} lower.",
    )


def power_evidence(trace: Trace, hold: ClockHold) -> list[Evidence]:
    """Return how long the limit was reached, the power and the limit then, and the clocks."""
    use, limit = hold.use, limit_w(trace, hold)
    source = "counted" if hold.counted else "from samples"
    held = f"limited by the power limit ({source})"
    power_w = time_mean(readings_meanwhile(trace, hold, "power_w"))
    return [
        device_evidence(use, held, hold.seconds, "s", hold.at),
        device_evidence(use, "power meanwhile", power_w, "W", hold.at),
        device_evidence(use, "limit meanwhile", limit if limit > 0 else None, "W", hold.at),
        device_evidence(use, "SM clock meanwhile", hold.clock_mhz, "MHz", hold.at),
        device_evidence(use, "SM clock without the limit", hold.free_mhz, "MHz"),
    ]


def raise_power_limit(trace: Trace, hold: ClockHold, *, lowered: bool) -> list[Action]:
    """Return the advice to raise a limit that was lowered."""
    limit, default = limit_w(trace, hold), hold.use.facts.power_default_limit_w
    return RAISE_LIMIT.given(
        lowered,
        f"the limit is {digits(limit)} W, the default {digits(default)} W",
        snippet=f"nvidia-smi -i {hold.use.device} -pl {default:.0f}",
    )


def is_lowered(trace: Trace, hold: ClockHold, limits: Limits) -> bool:
    """Return whether the limit that was reached is below the default."""
    default = hold.use.facts.power_default_limit_w
    return 0 < limit_w(trace, hold) < limits.lowered_power_limit * default


def limit_w(trace: Trace, hold: ClockHold) -> float:
    """Return the limit during the longest stretch in which it was reached; -1 unknown.

    Without readings it is the limit at the beginning of the recording.
    """
    rows = readings_meanwhile(trace, hold, "power_limit_w")
    return float(rows["value"].median()) if len(rows) else hold.use.facts.power_limit_w


def readings_meanwhile(trace: Trace, hold: ClockHold, name: str) -> pd.DataFrame:
    """Return the readings of one counter in the longest stretch of reduced clocks.

    Where no such stretch is known they are those of the whole window.
    """
    use = hold.use
    begin_ns, end_ns = hold.at if hold.at is not None else use.window_ns
    series = trace.fact(device_series)
    rows = readings_within(series, use.host, use.device, name, (begin_ns, end_ns))
    inside = rows[rows["ts"] <= end_ns]
    return inside if len(inside) else rows


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("device_counters",),
    in_traces=False,
    advice=(RAISE_LIMIT,),
    color="device-compute",
)
