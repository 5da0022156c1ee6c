"""The counters of a device and the calls that return them.

Most counters have several methods, listed best first. Which of them works is found out once for
each device, and what it costs: expensive ones are called less often.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.session import NvmlSession

ALL_LINKS: Final = 0xFFFFFFFF
EXPENSIVE_NS: Final = 100_000
"""A call that takes longer is not made ten times per second: eight devices would need 10 % of a
core.
"""
VALUE_MEMBERS: Final = {
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
    """A field value; the counter is its sum over `scopes` (links), times `factor`."""

    field: int
    factor: float = 1.0
    scopes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class NvmlCall:
    """A call; `values` turns what it returns into the values of the counters `names`."""

    names: tuple[str, ...]
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    values: Callable[[Any], tuple[float, ...]] = lambda value: (float(value),)


MOST_LINKS: Final = 36
"""NVML_NVLINK_MAX_LINKS of the newest header; older bindings know 18. Others refuse the rest."""
EACH_LINK: Final = tuple(range(MOST_LINKS))
FIELDS: Final[dict[str, tuple[Field, ...]]] = {
    "power_w": (Field(186, 1e-3),),
    "energy_j": (Field(83, 1e-3), Field(191, 1e-3)),
    # 138 and 139 count KiB of all links together. Newer links count bytes; some drivers report
    # them for each link only.
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
LINK_ERRORS: Final = (38, 45, 52, 59, 215, 221)
"""The fields that add up to nvlink_error_count: CRC errors of flits and data, replays, recoveries;
on newer links recoveries and symbol errors.
"""
ERRORS_OF_A_LINK: Final = (215, 221)
"""Of these a field value is that of one link (nvml.h, fields 201 to 225)."""

UTILIZATION: Final = NvmlCall(
    ("kernel_time_share", "memory_time_share"),
    pynvml.nvmlDeviceGetUtilizationRates,
    values=lambda rates: (rates.gpu / 100.0, rates.memory / 100.0),
)
EVENTS: Final = (
    NvmlCall(("clock_events",), pynvml.nvmlDeviceGetCurrentClocksEventReasons),
    NvmlCall(("clock_events",), pynvml.nvmlDeviceGetCurrentClocksThrottleReasons),
)
QUICK: Final[tuple[tuple[NvmlCall, ...], ...]] = (
    (UTILIZATION,),
    (NvmlCall(("sm_clock_mhz",), pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_SM,)),),
    EVENTS,
)
"""Counters to read ten times per second; the methods of each, best first."""
SLOW: Final[tuple[tuple[NvmlCall, ...], ...]] = (
    (
        NvmlCall(
            ("memory_used_bytes",),
            pynvml.nvmlDeviceGetMemoryInfo,
            values=lambda memory: (float(memory.used),),
        ),
    ),
    (NvmlCall(("memory_clock_mhz",), pynvml.nvmlDeviceGetClockInfo, (pynvml.NVML_CLOCK_MEM,)),),
    (
        NvmlCall(
            ("temperature_c",), pynvml.nvmlDeviceGetTemperature, (pynvml.NVML_TEMPERATURE_GPU,)
        ),
    ),
    (
        NvmlCall(
            ("power_limit_w",),
            pynvml.nvmlDeviceGetEnforcedPowerLimit,
            values=lambda mw: (mw / 1e3,),
        ),
    ),
    (NvmlCall(("pcie_generation",), pynvml.nvmlDeviceGetCurrPcieLinkGeneration),),
    (NvmlCall(("pcie_width",), pynvml.nvmlDeviceGetCurrPcieLinkWidth),),
    (
        NvmlCall(
            ("ecc_corrected_count",),
            pynvml.nvmlDeviceGetTotalEccErrors,
            (0, pynvml.NVML_VOLATILE_ECC),
        ),
    ),
    (
        NvmlCall(
            ("ecc_uncorrected_count",),
            pynvml.nvmlDeviceGetTotalEccErrors,
            (1, pynvml.NVML_VOLATILE_ECC),
        ),
    ),
)
FALLBACK_CALLS: Final[dict[str, NvmlCall]] = {
    "power_w": NvmlCall(
        ("power_w",), pynvml.nvmlDeviceGetPowerUsage, values=lambda mw: (mw / 1e3,)
    ),
    "energy_j": NvmlCall(
        ("energy_j",), pynvml.nvmlDeviceGetTotalEnergyConsumption, values=lambda mj: (mj / 1e3,)
    ),
}
"""The calls for counters that a device does not have as a field value."""


class FieldSet:
    """Field values of one device that are read with one call."""

    def __init__(self, chosen: dict[str, list[Field]]) -> None:
        self.requested: list[tuple[int, int]] = []
        self.factors: list[tuple[str, float]] = []
        for name, fields in chosen.items():
            for field in fields:
                for scope in field.scopes:
                    self.requested.append((field.field, scope))
                    self.factors.append((name, field.factor))

    def read(self, nvml: NvmlSession, handle: Any, row: dict[str, float]) -> None:
        """Add each counter to the row, except those that do not answer."""
        if not self.requested:
            return
        results = nvml.query(pynvml.nvmlDeviceGetFieldValues, handle, self.requested)
        if results is None:
            return
        for result, (name, factor) in zip(results, self.factors, strict=True):
            if result.nvmlReturn == pynvml.NVML_SUCCESS:
                row[name] = row.get(name, 0.0) + field_number(result) * factor


def field_number(result: Any) -> float:
    """Return a field value, whatever its type."""
    member = VALUE_MEMBERS.get(result.valueType, "ullVal")
    return float(getattr(result.value, member))


@dataclass
class ReadingMethods:
    """How one device is read: often (`quick`) and less often (`slow`).

    `missing` has the reason for each counter that cannot be read. `power_is` says whether power is
    an `instant` value or a `mean`.
    """

    quick: list[NvmlCall]
    quick_fields: FieldSet
    slow: list[NvmlCall]
    slow_fields: FieldSet
    missing: dict[str, str]
    power_is: str | None


def choose_methods(nvml: NvmlSession, handle: Any) -> ReadingMethods:
    """Try every method once; keep those that work, cheap and expensive ones apart."""
    missing: dict[str, str] = {}
    quick: list[NvmlCall] = []
    slow: list[NvmlCall] = []
    for alternatives in QUICK:
        call = first_that_works(nvml, handle, alternatives, missing)
        if call is not None:
            is_cheap = call_cost_ns(nvml, handle, call) <= EXPENSIVE_NS
            (quick if is_cheap else slow).append(call)
    for alternatives in SLOW:
        call = first_that_works(nvml, handle, alternatives, missing)
        if call is not None:
            slow.append(call)
    fields, reasons = choose_fields(nvml, handle)
    power_is = "instant" if "power_w" in fields else None
    for name, reason in reasons.items():
        call = FALLBACK_CALLS.get(name)
        if call is None or first_that_works(nvml, handle, (call,), missing) is None:
            missing.setdefault(name, reason)
            continue
        slow.append(call)
        if name == "power_w":
            power_is = "mean"
    quick_fields = {name: chosen for name, chosen in fields.items() if name == "power_w"}
    slow_fields = {name: chosen for name, chosen in fields.items() if name != "power_w"}
    return ReadingMethods(
        quick, FieldSet(quick_fields), slow, FieldSet(slow_fields), missing, power_is
    )


def first_that_works(
    nvml: NvmlSession, handle: Any, alternatives: tuple[NvmlCall, ...], missing: dict[str, str]
) -> NvmlCall | None:
    """Return the first of these calls that works; else add the last reason to `missing`."""
    for call in alternatives:
        if nvml.query(call.function, handle, *call.args) is not None:
            return call
    for name in alternatives[0].names:
        missing[name] = nvml.reason
    return None


def call_cost_ns(nvml: NvmlSession, handle: Any, call: NvmlCall) -> int:
    """Make a call once and return how long it took."""
    began_ns = time.perf_counter_ns()
    nvml.query(call.function, handle, *call.args)
    return time.perf_counter_ns() - began_ns


def choose_fields(nvml: NvmlSession, handle: Any) -> tuple[dict[str, list[Field]], dict[str, str]]:
    """Return the fields that answer, by counter, and the reasons of counters without one."""
    chosen: dict[str, list[Field]] = {}
    reasons: dict[str, str] = {}
    for name, alternatives in FIELDS.items():
        for field in alternatives:
            scopes, reason = answering_scopes(nvml, handle, field, is_bytes=name.endswith("_bytes"))
            if scopes:
                chosen[name] = [Field(field.field, field.factor, scopes)]
                reasons.pop(name, None)
                break
            reasons[name] = reason
    errors: list[Field] = []
    for number in LINK_ERRORS:
        scopes_of_field = EACH_LINK if number in ERRORS_OF_A_LINK else (0,)
        scopes, _ = answering_scopes(nvml, handle, Field(number, 1.0, scopes_of_field))
        if scopes:
            errors.append(Field(number, 1.0, scopes))
    if errors:
        chosen["nvlink_error_count"] = errors
    return chosen, reasons


def answering_scopes(
    nvml: NvmlSession, handle: Any, field: Field, *, is_bytes: bool = False
) -> tuple[tuple[int, ...], str]:
    """Return the scopes (links) for which the device has this field, and the reason if none.

    A field that counts bytes (`is_bytes`) in 32 bits is not used.
    """
    requested = [(field.field, scope) for scope in field.scopes]
    results = nvml.query(pynvml.nvmlDeviceGetFieldValues, handle, requested)
    if results is None:
        return (), nvml.reason
    if is_bytes and results[0].valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_INT:
        return (), "its counter has 32 bits: a fast link overflows it between two samples"
    scopes = tuple(
        scope
        for result, scope in zip(results, field.scopes, strict=True)
        if result.nvmlReturn == pynvml.NVML_SUCCESS
    )
    if not scopes:
        nvml.last = int(results[0].nvmlReturn)
    return scopes, nvml.reason
