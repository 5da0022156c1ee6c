"""Every counter that is read, and the ways to it, best first: field values, calls, and what each
gives in which unit.

Which way works is found out once for each device (`found`). A way's cost is measured then, too:
what is dear is read less often.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.door import Door

ALL_LINKS: Final = 0xFFFFFFFF
DEAR_NS: Final = 100_000
"""A reading that takes longer is none for ten times a second: eight devices would need a tenth of a
core.
"""
VALUES: Final = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}


@dataclass(frozen=True)
class Field:
    """A field value: `factor` brings it to the counter's unit, `links` says that it is a sum over
    these scopes.
    """

    field: int
    factor: float = 1.0
    scopes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Call:
    """A call: what it returns becomes the counters' values, in order."""

    names: tuple[str, ...]
    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    values: Callable[[Any], tuple[float, ...]] = lambda value: (float(value),)


EACH_LINK: Final = tuple(range(18))
FIELDS: Final[dict[str, tuple[Field, ...]]] = {
    "power_w": (Field(186, 1e-3),),
    "energy_j": (Field(83, 1e-3), Field(191, 1e-3)),
    # 138 and 139 count KiB over all links at once; newer links count bytes, some drivers link by
    # link only.
    "nvlink_tx_bytes": (
        Field(138, 1024.0, (ALL_LINKS,)),
        Field(202, 1.0, (ALL_LINKS,)),
        Field(202, 1.0, EACH_LINK),
    ),
    "nvlink_rx_bytes": (
        Field(139, 1024.0, (ALL_LINKS,)),
        Field(204, 1.0, (ALL_LINKS,)),
        Field(204, 1.0, EACH_LINK),
    ),
    "pcie_tx_bytes": (Field(197),),
    "pcie_rx_bytes": (Field(198),),
    "pcie_replay_count": (Field(94),),
    "held_power_ns": (Field(74),),
    "held_thermal_ns": (Field(75),),
    "held_sync_boost_ns": (Field(76),),
    "held_board_ns": (Field(77),),
    "held_reliability_ns": (Field(79),),
    "held_brake_ns": (Field(271),),
}
ERRORS: Final = (38, 45, 52, 59, 215, 221)
"""CRC errors of flits and data, replays, recoveries; on newer links recoveries and symbol errors:
together nvlink_error_count.
"""

UTILIZATION: Final = Call(
    ("kernel_time_share", "memory_time_share"),
    pynvml.nvmlDeviceGetUtilizationRates,
    values=lambda rates: (rates.gpu / 100.0, rates.memory / 100.0),
)
EVENTS: Final = (
    Call(("clock_events",), pynvml.nvmlDeviceGetCurrentClocksEventReasons),
    Call(("clock_events",), pynvml.nvmlDeviceGetCurrentClocksThrottleReasons),
)
QUICK: Final[tuple[tuple[Call, ...], ...]] = (
    (UTILIZATION,),
    (Call(("sm_clock_mhz",), pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_SM,)),),
    EVENTS,
)
"""Wanted ten times a second; each with its ways, best first."""
SLOW: Final[tuple[tuple[Call, ...], ...]] = (
    (
        Call(
            ("memory_used_bytes",),
            pynvml.nvmlDeviceGetMemoryInfo,
            values=lambda memory: (float(memory.used),),
        ),
    ),
    (Call(("memory_clock_mhz",), pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_MEM,)),),
    (Call(("temperature_c",), pynvml.nvmlDeviceGetTemperature, (pynvml.NVML_TEMPERATURE_GPU,)),),
    (
        Call(
            ("power_limit_w",),
            pynvml.nvmlDeviceGetEnforcedPowerLimit,
            values=lambda mw: (mw / 1e3,),
        ),
    ),
    (Call(("pcie_generation",), pynvml.nvmlDeviceGetCurrPcieLinkGeneration),),
    (Call(("pcie_width",), pynvml.nvmlDeviceGetCurrPcieLinkWidth),),
    (
        Call(
            ("ecc_corrected_count",),
            pynvml.nvmlDeviceGetTotalEccErrors,
            (0, pynvml.NVML_VOLATILE_ECC),
        ),
    ),
    (
        Call(
            ("ecc_uncorrected_count",),
            pynvml.nvmlDeviceGetTotalEccErrors,
            (1, pynvml.NVML_VOLATILE_ECC),
        ),
    ),
)
INSTEAD: Final[dict[str, Call]] = {
    "power_w": Call(("power_w",), pynvml.nvmlDeviceGetPowerUsage, values=lambda mw: (mw / 1e3,)),
    "energy_j": Call(
        ("energy_j",), pynvml.nvmlDeviceGetTotalEnergyConsumption, values=lambda mj: (mj / 1e3,)
    ),
}
"""Where the device has no field value for it."""


class Fields:
    """Field values of one device that are read with one call."""

    def __init__(self, chosen: dict[str, list[Field]]) -> None:
        self.asked: list[tuple[int, int]] = []
        self.factors: list[tuple[str, float]] = []
        for name, fields in chosen.items():
            for field in fields:
                for scope in field.scopes:
                    self.asked.append((field.field, scope))
                    self.factors.append((name, field.factor))

    def read(self, door: Door, handle: Any, row: dict[str, float]) -> None:
        """Add each counter to the row; one that does not answer is left out."""
        if not self.asked:
            return
        values = door.query(pynvml.nvmlDeviceGetFieldValues, handle, self.asked)
        if values is None:
            return
        for one, (name, factor) in zip(values, self.factors, strict=True):
            if one.nvmlReturn == pynvml.NVML_SUCCESS:
                row[name] = row.get(name, 0.0) + number(one) * factor


def number(value: Any) -> float:
    """A field value of whatever type."""
    return float(getattr(value.value, VALUES.get(value.valueType, "ullVal")))


@dataclass
class Ways:
    """How one device is read: ten times a second and less often; `missing` says why of what cannot
    be read.
    """

    quick: list[Call]
    quick_fields: Fields
    slow: list[Call]
    slow_fields: Fields
    missing: dict[str, str]
    power_is: str | None


def found(door: Door, handle: Any) -> Ways:
    """Try every way once and keep those that work, the cheap ones apart from the dear."""
    missing: dict[str, str] = {}
    quick: list[Call] = []
    slow: list[Call] = []
    for wanted, ways in [(quick, one) for one in QUICK] + [(slow, one) for one in SLOW]:
        call = first_that_works(door, handle, ways, missing)
        if call is not None:
            (wanted if cost_ns(door, handle, call) <= DEAR_NS else slow).append(call)
    chosen, reasons = chosen_fields(door, handle)
    power_is = "instant" if "power_w" in chosen else None
    for name, reason in reasons.items():
        call = INSTEAD.get(name)
        if call is None or first_that_works(door, handle, (call,), missing) is None:
            missing.setdefault(name, reason)
            continue
        slow.append(call)
        power_is = "mean" if name == "power_w" else power_is
    cheap = {name: fields for name, fields in chosen.items() if name == "power_w"}
    rest = {name: fields for name, fields in chosen.items() if name not in cheap}
    return Ways(quick, Fields(cheap), slow, Fields(rest), missing, power_is)


def first_that_works(
    door: Door, handle: Any, ways: tuple[Call, ...], missing: dict[str, str]
) -> Call | None:
    """The first of these calls that gives a value; else the reason of the last is kept."""
    for call in ways:
        if door.query(call.fn, handle, *call.args) is not None:
            return call
    for name in ways[0].names:
        missing[name] = door.reason
    return None


def cost_ns(door: Door, handle: Any, call: Call) -> int:
    """What one more of these calls takes."""
    began = time.perf_counter_ns()
    door.query(call.fn, handle, *call.args)
    return time.perf_counter_ns() - began


def chosen_fields(door: Door, handle: Any) -> tuple[dict[str, list[Field]], dict[str, str]]:
    """The field values that answer, and of the others why not."""
    chosen: dict[str, list[Field]] = {}
    reasons: dict[str, str] = {}
    for name, ways in FIELDS.items():
        for field in ways:
            answering = answering_scopes(door, handle, field, reasons, name)
            if answering:
                chosen[name] = [Field(field.field, field.factor, answering)]
                reasons.pop(name, None)
                break
    errors = [
        Field(one, 1.0, scopes)
        for one in ERRORS
        if (scopes := answering_scopes(door, handle, Field(one), {}, ""))
    ]
    if errors:
        chosen["nvlink_error_count"] = errors
    return chosen, reasons


def answering_scopes(
    door: Door, handle: Any, field: Field, reasons: dict[str, str], name: str
) -> tuple[int, ...]:
    """The scopes (links) of a field for which the device has a value."""
    values = door.query(
        pynvml.nvmlDeviceGetFieldValues, handle, [(field.field, scope) for scope in field.scopes]
    )
    if values is None:
        reasons[name] = door.reason
        return ()
    if name.endswith("_bytes") and values[0].valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT:
        reasons[name] = "its counter has 32 bits: a fast link overflows it between two looks"
        return ()
    good = [
        scope
        for one, scope in zip(values, field.scopes, strict=True)
        if one.nvmlReturn == pynvml.NVML_SUCCESS
    ]
    if not good:
        door.last = int(values[0].nvmlReturn)
        reasons[name] = door.reason
    return tuple(good)
