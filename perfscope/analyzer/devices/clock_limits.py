"""What held the clocks of each device down, for how long, and how far below the clock that it would
have run at.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.counters.series import device_series, longest_at, mean, within
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Reason:
    """One reason: the driver's counter of the time it held, and its bits in `clock_events`
    (nvmlClocksEventReasons).
    """

    name: str
    counter: str
    bits: int
    text: str


THERMAL: Final = Reason("thermal", "held_thermal_share", 0x60, "temperature")
BRAKE: Final = Reason(
    "brake", "held_brake_share", 0x80, "the power brake from outside (the server's power supply)"
)
HARDWARE: Final = Reason(
    "hardware", "", 0x08, "the hardware's own slowdown (too much power or heat)"
)
POWER: Final = Reason("power", "held_power_share", 0x04, "the power limit")
SYNC: Final = Reason(
    "sync-boost", "held_sync_boost_share", 0x10, "another device of its sync-boost group"
)
REASONS: Final = (THERMAL, BRAKE, HARDWARE, POWER, SYNC)


@dataclass(frozen=True)
class ClockHold:
    """A reason that held: its share of the time that was read and seconds of that; the clock
    meanwhile and without it (MHz, None: unknown).

    `counted`: by the driver without a pause, else from samples. `at` is the longest stretch in
    samples, ns.
    """

    use: DeviceUse
    reason: Reason
    share: float
    seconds: float
    counted: bool
    clock_mhz: float | None
    free_mhz: float | None
    at: tuple[int, int] | None

    @property
    def slower(self) -> float:
        """By how much the clock was lower while it was held, as a share; 0 where it is not
        known.
        """
        if self.clock_mhz is None or not self.free_mhz:
            return 0.0
        return max(1.0 - self.clock_mhz / self.free_mhz, 0.0)


def clock_holds(trace: Trace) -> list[ClockHold]:
    """Every reason that held a device of the job for any time, the longest first."""
    found = [
        hold
        for use in clocked(trace)
        for reason in REASONS
        if (hold := held(trace, use, reason)) is not None
    ]
    return sorted(found, key=lambda one: -one.share * one.slower)


def clocked(trace: Trace) -> list[DeviceUse]:
    """The devices of the job; an instance of MIG runs at the clocks of its whole device, which then
    stands for it.
    """
    whole = {(one.host, one.device): one for one in trace.fact(all_devices)}
    found: dict[tuple[str, int], DeviceUse] = {}
    for use in trace.fact(device_use):
        over = whole.get((use.host, use.facts.parent))
        stands = (
            use
            if over is None
            else replace(over, processes=use.processes, ranks=use.ranks, certain=use.certain)
        )
        found.setdefault((stands.host, stands.device), stands)
    return list(found.values())


def clocks_known(use: DeviceUse) -> bool:
    """Does the driver say what holds this device's clocks?"""
    return "clock_events" in use.means or any(reason.counter in use.means for reason in REASONS)


def held(trace: Trace, use: DeviceUse, reason: Reason) -> ClockHold | None:
    """One reason on one device; None when it did not hold."""
    series = trace.fact(device_series)
    events = within(series, use.host, use.device, "clock_events", use.begin_ns, use.end_ns)
    bits = (events["value"].to_numpy(np.int64) & reason.bits) != 0
    flags = events.assign(value=bits.astype(np.float64))
    counted = use.means.get(reason.counter)
    share = counted if counted is not None else mean(flags)
    if not share or share <= 0.0:
        return None
    share = min(share, 1.0)
    clock, free = clocks(trace, use, flags)
    at = longest_at(flags, 0.5) if bits.any() else None
    of = (
        events
        if counted is None
        else within(series, use.host, use.device, reason.counter, use.begin_ns, use.end_ns)
    )
    read_s = min(float(of["span"].sum()) / 1e9, use.span_s)
    return ClockHold(use, reason, share, share * read_s, counted is not None, clock, free, at)


def clocks(trace: Trace, use: DeviceUse, flags: pd.DataFrame) -> tuple[float | None, float | None]:
    """The mean SM clock while held, and the clock without: the highest while not held and working,
    else the boost clock.
    """
    series = trace.fact(device_series)
    clock = within(series, use.host, use.device, "sm_clock_mhz", use.begin_ns, use.end_ns)
    if not len(clock):
        return None, None
    now = sampled_at(flags, column(clock, "ts")) >= 0.5
    load = within(series, use.host, use.device, "kernel_time_share", use.begin_ns, use.end_ns)
    works = sampled_at(load, column(clock, "ts")) > 0.1 if len(load) else np.ones(len(clock), bool)
    held_clock = mean(clock[now & works]) if (now & works).any() else mean(clock[works])
    boost = float(use.facts.boost_clock_mhz) if use.facts.boost_clock_mhz > 0 else None
    others = clock[~now & works]
    return held_clock, float(others["value"].max()) if len(others) >= 3 else boost


def sampled_at(
    rows: pd.DataFrame, ts: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The value of each reading's next neighbour in time; zeros without any."""
    if not len(rows):
        return np.zeros(len(ts))
    at = np.clip(np.searchsorted(column(rows, "ts"), ts), 0, len(rows) - 1)
    return rows["value"].to_numpy(np.float64)[at]


def no_clock_reasons(trace: Trace) -> str | None:
    """Why no device of the job tells what holds its clocks, None where one does; there is at least
    one device.
    """
    uses = clocked(trace)
    return None if any(map(clocks_known, uses)) else uses[0].why_missing("clock_events")
