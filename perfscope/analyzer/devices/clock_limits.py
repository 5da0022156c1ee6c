"""What limited the clocks of each device, for how long, and how far below its free clock."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.counters.pcie_links import nearest_reading
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.counter_series import longest_run_of_readings, time_mean
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

FEWEST_FREE_READINGS: Final = 3
"""Readings of the clock without a limit from which on the highest of them is the free clock."""
MOSTLY: Final = 0.5


@dataclass(frozen=True)
class ClockReason:
    """One reason: the driver's counter of the time it held, and its bits in `clock_events`
    (nvmlClocksEventReasons).
    """

    name: str
    counter: str
    bits: int
    text: str


THERMAL: Final = ClockReason("thermal", "held_thermal_share", 0x60, "temperature")
BRAKE: Final = ClockReason(
    "brake",
    "held_brake_share",
    0x80,
    "the external power brake (the server's power supply)",
)
HARDWARE: Final = ClockReason(
    "hardware", "", 0x08, "the hardware's own slowdown (too much power or heat)"
)
POWER: Final = ClockReason("power", "held_power_share", 0x04, "the power limit")
SYNC: Final = ClockReason(
    "sync-boost", "held_sync_boost_share", 0x10, "another device of its sync-boost group"
)
REASONS: Final = (THERMAL, BRAKE, HARDWARE, POWER, SYNC)


@dataclass(frozen=True)
class ClockHold:
    """A reason that limited the clock: the share of the time that was read, and its seconds.

    `clock_mhz` is the clock meanwhile and `free_mhz` the clock without the limit (None: unknown).
    `counted`: by the driver without a gap, else from samples. `at` is the longest stretch in
    samples, in ns.
    """

    use: DeviceUse
    reason: ClockReason
    share: float
    seconds: float
    counted: bool
    clock_mhz: float | None
    free_mhz: float | None
    at: tuple[int, int] | None

    @property
    def slower(self) -> float:
        """The share by which the clock was lower meanwhile; 0 where that is unknown."""
        if self.clock_mhz is None or not self.free_mhz:
            return 0.0
        return max(1.0 - self.clock_mhz / self.free_mhz, 0.0)

    @property
    def cost_share(self) -> float:
        """The largest share of the time that the lower clock costs."""
        return self.share * self.slower * self.use.means.get("kernel_time_share", 1.0)

    @property
    def source(self) -> str:
        """How the time was measured, as text."""
        return "counted by the driver" if self.counted else "from samples"


def clock_holds(trace: Trace) -> list[ClockHold]:
    """Return every reason that limited a device of the job, the most expensive first."""
    holds = [hold_of(trace, use, reason) for use in clocked_devices(trace) for reason in REASONS]
    found = [hold for hold in holds if hold is not None]
    return sorted(found, key=lambda hold: -hold.share * hold.slower)


def clocked_devices(trace: Trace) -> list[DeviceUse]:
    """Return the devices of the job; a MIG instance is replaced by its whole device, whose clocks
    it runs at.
    """
    whole = {(use.host, use.device): use for use in trace.fact(all_devices)}
    found: dict[tuple[str, int], DeviceUse] = {}
    for use in trace.fact(device_use):
        parent = whole.get((use.host, use.facts.parent))
        clocked = use
        if parent is not None:
            clocked = replace(parent, processes=use.processes, ranks=use.ranks, certain=use.certain)
        found.setdefault((clocked.host, clocked.device), clocked)
    return list(found.values())


def has_clock_reasons(use: DeviceUse) -> bool:
    """Return whether the driver reports what limits this device's clocks."""
    return "clock_events" in use.means or any(reason.counter in use.means for reason in REASONS)


def hold_of(trace: Trace, use: DeviceUse, reason: ClockReason) -> ClockHold | None:
    """Return how long one reason limited one device; None when it did not."""
    events = use.readings(trace, "clock_events")
    bits = (events["value"].to_numpy(np.int64) & reason.bits) != 0
    flags = events.assign(value=bits.astype(np.float64))
    counted = use.means.get(reason.counter)
    share = counted if counted is not None else time_mean(flags)
    if not share or share <= 0.0:
        return None
    share = min(share, 1.0)
    clock_mhz, free_mhz = held_and_free_clock(trace, use, flags)
    readings = events if counted is None else use.readings(trace, reason.counter)
    read_s = min(float(readings["span"].sum()) / 1e9, use.span_s)
    return ClockHold(
        use=use,
        reason=reason,
        share=share,
        seconds=share * read_s,
        counted=counted is not None,
        clock_mhz=clock_mhz,
        free_mhz=free_mhz,
        at=longest_run_of_readings(flags, MOSTLY) if bits.any() else None,
    )


def held_and_free_clock(
    trace: Trace, use: DeviceUse, flags: pd.DataFrame
) -> tuple[float | None, float | None]:
    """Return the mean SM clock while it is limited, and the clock without the limit.

    The latter is the highest clock read while the device worked without the limit, else its boost
    clock.
    """
    clock = use.readings(trace, "sm_clock_mhz")
    if not len(clock):
        return None, None
    ts = column(clock, "ts")
    is_held = nearest_values(flags, ts) >= MOSTLY
    load = use.readings(trace, "kernel_time_share")
    works = np.ones(len(clock), bool)
    if len(load):
        works = nearest_values(load, ts) > LIMITS.device_works
    held = clock[is_held & works] if (is_held & works).any() else clock[works]
    free = clock[~is_held & works]
    if len(free) >= FEWEST_FREE_READINGS:
        return time_mean(held), float(free["value"].max())
    boost_mhz = use.facts.boost_clock_mhz
    return time_mean(held), float(boost_mhz) if boost_mhz > 0 else None


def nearest_values(rows: pd.DataFrame, ts: Ints) -> NDArray[np.float64]:
    """Return the value of the reading at or after each instant; zeros without any."""
    if not len(rows):
        return np.zeros(len(ts))
    return rows["value"].to_numpy(np.float64)[nearest_reading(rows, ts)]


def no_clock_reasons(trace: Trace) -> Unmet | None:
    """Return why no device of the job reports what limits its clocks, None where one does.

    The job must use a device.
    """
    uses = clocked_devices(trace)
    if any(has_clock_reasons(use) for use in uses):
        return None
    return Unmet("other", uses[0].why_missing("clock_events"))
