"""The device runs slower than it could because its power limit is reached.

What it means
    The clocks are lowered so that the board keeps to its limit. With the limit that the product has
    this is how a heavily used device runs, and is only told of; a limit that somebody lowered costs
    speed that can be had back.

How it is detected
    The driver counts the time in which the power limit held the clocks, and says the limit and the
    default one; a limit that comes and goes is the one that stood while it held. The loss is that
    time times how far the clock lay below the one without.

What to do
    Raise the limit to the default where power and cooling allow it. Lower is right where the whole
    rack has a limit, or where joules count: the last watts buy little speed.

When it is wrong
    Work that waits for memory hardly slows with the SM clock: the loss is a ceiling. Some GeForce
    drivers report the power limit as a reason before clocks fall.
"""

import pandas as pd

from perfscope.analyzer.counters.device_finding import called, evidence, finding, no_devices
from perfscope.analyzer.counters.series import device_series, mean, within
from perfscope.analyzer.devices.clock_limits import POWER, ClockHold, clock_holds, no_clock_reasons
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "power-capped"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs the driver's reasons for the clocks."""
    return no_devices(trace) or no_clock_reasons(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The device that the limit slows most; with its default limit it is only told of."""
    holds = [
        one
        for one in trace.fact(clock_holds)
        if one.reason is POWER and one.share >= limits.held_share
    ]
    slowed = [one for one in holds if one.slower >= limits.worth_share]
    if not slowed:
        return None
    worst = max(slowed, key=lambda one: (lowered(trace, one), loss(one)))
    use = worst.use
    limit, usual = limit_w(trace, worst), use.facts.power_default_limit_w
    least = lowered(trace, worst)
    its_limit = f"its limit of {digits(limit)} W" if limit > 0 else "its power limit"
    usual_limit = (
        f"; the default is {digits(usual)} W"
        if least
        else ", which is the default"
        if usual > 0
        else ""
    )
    return finding(
        use,
        ID,
        loss(worst),
        limits,
        info=not least,
        cause="limit-lowered" if least else None,
        message=Message(
            f"Power-capped: {called(use, trace)} runs at reduced clocks {percent(worst.share)} of"
            " the time",
            f"It reaches {its_limit}{usual_limit}. Its SM clock is {percent(worst.slower)} lower"
            " meanwhile.",
        ),
        evidence=[
            evidence(
                use,
                f"held by the power limit ({'counted' if worst.counted else 'from samples'})",
                worst.seconds,
                "s",
                worst.at,
            ),
            evidence(use, "power meanwhile", power_w(trace, worst), "W", worst.at),
            evidence(use, "limit meanwhile", limit if limit > 0 else None, "W", worst.at),
            evidence(use, "SM clock meanwhile", worst.clock_mhz, "MHz", worst.at),
            evidence(use, "SM clock without", worst.free_mhz, "MHz"),
        ],
        actions=(
            [
                Action(
                    "raise the limit to the default", f"nvidia-smi -i {use.device} -pl {usual:.0f}"
                )
            ]
            if least
            else []
        ),
    )


def lowered(trace: Trace, hold: ClockHold) -> bool:
    """Did somebody lower the limit that held?"""
    return 0 < limit_w(trace, hold) < 0.98 * hold.use.facts.power_default_limit_w


def limit_w(trace: Trace, hold: ClockHold) -> float:
    """The limit that stood in most of the longest stretch in which it held, else that of the
    recording's begin; -1 unknown.
    """
    rows = meanwhile(trace, hold, "power_limit_w")
    return float(rows["value"].median()) if len(rows) else hold.use.facts.power_limit_w


def power_w(trace: Trace, hold: ClockHold) -> float | None:
    """The mean power in that stretch."""
    return mean(meanwhile(trace, hold, "power_w"))


def meanwhile(trace: Trace, hold: ClockHold, name: str) -> pd.DataFrame:
    """The readings of one counter in the longest stretch of the hold, or in the whole window where
    samples show none.
    """
    begin, end = hold.at if hold.at is not None else (hold.use.begin_ns, hold.use.end_ns)
    rows = within(trace.fact(device_series), hold.use.host, hold.use.device, name, begin, end)
    inside = rows[rows["ts"] <= end]
    return inside if len(inside) else rows


def loss(hold: ClockHold) -> float:
    """The share of the time that the lower clock costs at most."""
    return hold.share * hold.slower * hold.use.means.get("kernel_time_share", 1.0)


RULE = Rule(ID, not_applicable, detect, needs=("device_counters",), in_traces=False)
