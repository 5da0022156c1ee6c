"""Devices that change in the middle of a recording, in built traces: each number is that of the
time to which it belongs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.pcie_links import NOT_READ
from perfscope.analyzer.devices.energy import energy_windows
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding
from perfscope.traces.device_facts import DeviceFacts, LinkFacts
from perfscope.traces.trace import Trace
from perfscope.ui.figures.counter_lines import isolated_readings, thinned_line
from perfscope.ui.html.devices import devices
from perfscope.ui.html.sections import Section
from tests import build
from tests.analyzer.claims import claim
from tests.analyzer.loop import MS, Loop
from tests.device_counters.diagnoses import find_finding, why_not_checked

SECOND = 1_000_000_000
HALF = SECOND // 2
HELD = {"host": "host", "device": 0, "process": 0, "pid": 100, "memory_bytes": 10**9}
LINKS = [LinkFacts(at, "switch", None, 4, -1.0) for at in range(18)]


def device_trace(
    seconds: float = 10,
    *,
    missing: dict[str, str] | None = None,
    listed: bool = True,
    holders: list[dict[str, Any]] | None = None,
    devices: int = 1,
    tables: dict[str, list[dict[str, Any]]] | None = None,
    **counters: float | Callable[[float], float],
) -> Trace:
    """Return the trace of a device of rank 0 that is read twice per second; each counter is a
    number or a function of the time in seconds.
    """
    instants = range(0, round(seconds * SECOND) + 1, HALF)
    more = dict(tables or {})
    rows = more.pop("device_counters", [])
    for name, counter in {"kernel_time_share": 1.0, **counters}.items():
        for ts in instants:
            value = counter(ts / SECOND) if callable(counter) else counter
            reading = {"host": "host", "device": 0, "ts": ts, "name": name, "value": float(value)}
            rows.append(reading)
    if listed:
        processes = [HELD | {"ts": ts} for ts in instants]
        more["device_processes"] = [*processes, *(holders or [])]
    made = build.trace(device_counters=rows, **more)
    facts = DeviceFacts(
        0,
        "NVIDIA H100",
        pcie_generation=4,
        pcie_width=16,
        power_limit_w=700.0,
        missing=missing or {},
    )
    facts.power_default_limit_w, facts.links = 700.0, LINKS
    others = [DeviceFacts(number, "NVIDIA H100") for number in range(1, devices)]
    made.manifest.devices = [facts, *others]
    return made


def gap(begin_s: float, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Return the table of a device that was lost for a while."""
    row = {
        "host": "host",
        "device": 0,
        "ts": round(begin_s * SECOND),
        "dur": round(seconds * SECOND),
    }
    return {"device_gaps": [row | {"reason": "the device fell off the bus"}]}


def finding(trace: Trace, id: str) -> Finding:
    """Return the finding with this id."""
    return find_finding(diagnose_trace(trace), id)


def value(found: Finding, text: str) -> float | None:
    """Return the value of the evidence whose text starts with `text`."""
    return next(item.value for item in found.evidence if item.text.startswith(text))


def test_a_link_that_trains_down_in_the_middle_is_full_from_then_on() -> None:
    """3.8 GB/s are little for PCIe 4.0 x16 (31.5 GB/s), and almost all that PCIe 1.0 x16 can carry
    (4 GB/s), which the link is from second 4 on.
    """
    trace = device_trace(
        pcie_generation=lambda at: 1 if at >= 4 else 4,
        pcie_width=16,
        pcie_rx_bytes_per_s=3.8e9,
        pcie_tx_bytes_per_s=1e9,
    )
    full, down = finding(trace, "pcie-saturated"), finding(trace, "pcie-downtrained")
    assert full.share == pytest.approx(0.6, abs=0.06) and value(full, "while near the peak") == 3.8
    assert down.share == pytest.approx(0.6 * (1 - 4 / 31.5), abs=0.06)


def test_a_link_that_trained_down_for_a_while_is_reported_for_that_time() -> None:
    def trained_down(begin: float, end: float) -> Trace:
        return device_trace(
            pcie_generation=lambda at: 1 if begin <= at < end else 4,
            pcie_width=16,
            pcie_rx_bytes_per_s=3.8e9,
            pcie_tx_bytes_per_s=1e9,
        )

    trace = trained_down(5, 8)
    down, full = finding(trace, "pcie-downtrained"), finding(trace, "pcie-saturated")
    assert "30 %" in down.headline
    assert value(full, "while near the peak") == 3.8
    assert full.share == pytest.approx(0.3, abs=0.06)
    # One or two readings may be those of the idle link before.
    assert "pcie-downtrained" in diagnose_trace(trained_down(5, 5.6)).clear


def test_links_to_devices_of_ranks_that_were_not_recorded_are_in_use_too() -> None:
    mesh = [
        LinkFacts(number, "gpu", f"0000:1{1 + number % 3}:00.0", 3, -1.0) for number in range(12)
    ]
    others = [
        HELD | {"device": number, "process": process, "pid": 100 + number, "ts": SECOND}
        for number, process in ((1, 1), (2, -1))
    ]
    rates = {"nvlink_tx_bytes_per_s": 150e9, "nvlink_rx_bytes_per_s": 150e9}
    for rows, peak in ((others, 200.0), (others[:1], 100.0)):
        trace = device_trace(devices=4, holders=rows, **rates)
        for number, facts in enumerate(trace.manifest.devices):
            facts.links = [] if number else mesh
            facts.bus_id = f"0000:1{number}:00.0"
        links = {(link.kind, link.name): link for link in trace.fact(link_use)}
        assert links["nvlink", "device 0"].peak_bytes_per_s / 1e9 == peak


def test_the_rate_of_a_full_link_is_that_of_the_time_in_which_it_was_full() -> None:
    trace = device_trace(
        nvlink_tx_bytes_per_s=5e9, nvlink_rx_bytes_per_s=lambda at: 430e9 if 3 < at <= 6 else 5e9
    )
    found = finding(trace, "nvlink-saturated")
    assert value(found, "while near the peak") == 430
    assert value(found, "in, over the whole time") == pytest.approx(0.3 * 430 + 0.7 * 5)
    assert found.share == pytest.approx(0.3)


def test_a_link_that_counted_more_than_it_can_carry_is_not_checked() -> None:
    diagnosis = diagnose_trace(device_trace(nvlink_tx_bytes_per_s=600e9, nvlink_rx_bytes_per_s=5e9))
    reason = why_not_checked(diagnosis, "nvlink-saturated")
    assert "600 GB/s" in reason and "450 GB/s" in reason


def test_a_counter_of_a_link_that_jumped_once_is_left_out() -> None:
    trace = device_trace(
        nvlink_tx_bytes_per_s=lambda at: 9e15 if at == 5 else 430e9, nvlink_rx_bytes_per_s=5e9
    )
    found = finding(trace, "nvlink-saturated")
    assert value(found, "the most in one reading") == 430


def test_counted_time_is_not_extrapolated_over_gaps() -> None:
    held = {
        "held_thermal_ns": lambda at: min(max(at - 2, 0), 3) * SECOND,
        "clock_events": lambda at: 64 if 2 < at <= 5 else 0,
    }
    for tables in ({}, gap(6, 3)):
        trace = device_trace(
            sm_clock_mhz=lambda at: 990 if 2 < at <= 5 else 1980, tables=tables, **held
        )
        held_s = value(finding(trace, "throttled"), "limited by temperature (counted")
        assert held_s == pytest.approx(3.0)


def test_a_temporary_power_limit_is_reported_with_its_value() -> None:
    low = {
        "power_limit_w": lambda at: 350 if 3 < at <= 6 else 700,
        "power_w": lambda at: 350 if 3 < at <= 6 else 560,
    }
    held = {
        "held_power_ns": lambda at: min(max(at - 3, 0), 3) * SECOND,
        "clock_events": lambda at: 4 if 3 < at <= 6 else 0,
    }
    found = finding(
        device_trace(sm_clock_mhz=lambda at: 990 if 3 < at <= 6 else 1980, **low, **held),
        "power-capped",
    )
    assert found.cause == "limit-lowered" and found.share == pytest.approx(0.15)
    assert (value(found, "limit meanwhile"), value(found, "power meanwhile")) == (350.0, 350.0)
    assert "350 W" in found.explanation and "700 W" in found.explanation


def test_an_idle_link_is_reported_as_idle() -> None:
    trace = device_trace(
        kernel_time_share=0.0,
        pcie_generation=1,
        pcie_width=16,
        pcie_rx_bytes_per_s=0,
        pcie_tx_bytes_per_s=0,
        missing={"pcie_tx_bytes": "its counter has 32 bits"},
    )
    diagnosis = diagnose_trace(trace)
    assert why_not_checked(diagnosis, "pcie-downtrained") == NOT_READ
    assert why_not_checked(diagnosis, "pcie-saturated") == NOT_READ


def test_a_refused_list_of_processes_is_reported_as_not_permitted() -> None:
    refused = {"processes": "no permission (the driver keeps it to the administrator)"}
    diagnosis = diagnose_trace(device_trace(missing=refused, listed=False, devices=2))
    throttled = next(entry for entry in diagnosis.not_checked if entry.id == "throttled")
    assert throttled.group == "not-permitted" and refused["processes"] in throttled.reason


def test_the_energy_of_a_step_does_not_include_the_time_between_steps() -> None:
    loop = Loop()
    for step in range(800):
        loop.next(1).work()
        loop.idle(700 if step == 200 else 0)
    begin, end = 200 * 7 * MS, (200 * 7 + 800) * MS
    window = {
        "process": 0,
        "ts": begin,
        "dur": end - begin,
        "begin": begin,
        "end": end,
        "steps": 1,
        "stall_ns": 0,
        "kept": True,
    }
    trace = device_trace(
        loop.at / 1e9, tables={**loop.tables, "windows": [window]}, energy_j=lambda at: 500 * at
    )
    rows = trace.fact(energy_windows)
    assert len(rows) > 1
    assert rows["energy_j_per_step"].to_numpy() == pytest.approx(500 * 0.007, rel=0.02)


def test_the_energy_of_a_recording_of_hours_is_given_for_ten_thousand_stretches() -> None:
    rows = device_trace(20_000, listed=False, power_w=500.0).fact(energy_windows)
    assert len(rows) == 10_000
    assert rows["energy_j"].to_numpy() == pytest.approx(500 * 2)


def test_no_line_is_drawn_over_a_gap() -> None:
    for tables, breaks in (({}, 0), (gap(4.1, 1), 1)):
        parts = devices(device_trace(power_w=500.0, tables=tables))
        charts = {part.id: part for part in parts if isinstance(part, Section)}
        power = next(line for line in charts["device-counters"].figure.data if line.yaxis == "y2")
        levels = power.y
        assert sum(level is None for level in levels) == breaks


def test_a_reading_between_two_gaps_is_isolated() -> None:
    isolated = isolated_readings(np.array([1.0, np.nan, 2.0, np.nan, 3.0, 4.0]))
    assert np.flatnonzero(isolated).tolist() == [0, 2]


def test_thinning_keeps_a_gap() -> None:
    power = np.ones(5000)
    power[777] = np.nan
    at, kept = thinned_line(np.arange(5000.0), power)
    assert at[np.isnan(kept)].tolist() == [777.0]
    assert (np.diff(at) > 0).all() and len(at) < 1100


def test_errors_of_a_device_that_the_job_does_not_use_are_reported_as_such() -> None:
    claims = []
    for number in (0, 1):
        reading = {"host": "host", "device": number, "name": "nvlink_error_count"}
        rows = [reading | {"ts": second * SECOND, "value": 50.0 * second} for second in range(9)]
        trace = device_trace(devices=2, tables={"device_counters": rows})
        claims.append(claim(finding(trace, "link-errors")))
    assert ["does not use" in text for text in claims] == [False, True]


def test_an_instance_of_mig_is_throttled_with_its_whole_device() -> None:
    held = {
        "held_thermal_ns": lambda at: 0.5 * at * SECOND,
        "clock_events": 64,
        "sm_clock_mhz": 990,
    }
    on_instance = [HELD | {"device": 1, "ts": at * SECOND} for at in range(9)]
    trace = device_trace(listed=False, devices=2, tables={"device_processes": on_instance}, **held)
    trace.manifest.devices[0].boost_clock_mhz = 1980
    trace.manifest.devices[1].parent = 0
    found = finding(trace, "throttled")
    assert found.share == pytest.approx(0.25)
    assert (found.devices, found.processes) == ([0], [0])
