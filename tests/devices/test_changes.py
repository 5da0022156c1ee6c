"""Devices that change in the middle of a recording, on built traces: each figure is of the time in
which it was so.
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

SECOND = 1_000_000_000
HALF = SECOND // 2
HELD = {"host": "host", "device": 0, "process": 0, "pid": 100, "memory_bytes": 10**9}
LINKS = [LinkFacts(at, "switch", None, 4, -1.0) for at in range(18)]


def device(
    seconds: float = 10,
    *,
    missing: dict[str, str] | None = None,
    listed: bool = True,
    holders: list[dict[str, Any]] | None = None,
    devices: int = 1,
    tables: dict[str, list[dict[str, Any]]] | None = None,
    **counters: float | Callable[[float], float],
) -> Trace:
    """A device of rank 0, read twice a second: each counter a number, or a function of the time in
    seconds.
    """
    instants = range(0, round(seconds * SECOND) + 1, HALF)
    rows = [
        {
            "host": "host",
            "device": 0,
            "ts": ts,
            "name": name,
            "value": float(said(ts / SECOND) if callable(said) else said),
        }
        for name, said in {"kernel_time_share": 1.0, **counters}.items()
        for ts in instants
    ]
    on = (
        {"device_processes": [*(HELD | {"ts": ts} for ts in instants), *(holders or [])]}
        if listed
        else {}
    )
    more = dict(tables or {})
    made = build.trace(device_counters=[*rows, *more.pop("device_counters", [])], **on, **more)
    facts = DeviceFacts(
        0,
        "NVIDIA H100",
        pcie_generation=4,
        pcie_width=16,
        power_limit_w=700.0,
        missing=missing or {},
    )
    facts.power_default_limit_w, facts.links = 700.0, LINKS
    made.manifest.devices = [facts, *(DeviceFacts(one, "NVIDIA H100") for one in range(1, devices))]
    return made


def gap(begin_s: float, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """The device was lost for a while."""
    row = {
        "host": "host",
        "device": 0,
        "ts": round(begin_s * SECOND),
        "dur": round(seconds * SECOND),
    }
    return {"device_gaps": [row | {"reason": "the device fell off the bus"}]}


def finding(trace: Trace, id: str) -> Finding:
    return next(each for each in diagnose_trace(trace).findings if each.id == id)


def value(found: Finding, text: str) -> float | None:
    return next(item.value for item in found.evidence if item.text.startswith(text))


def test_a_link_that_trains_down_in_the_middle_is_full_from_then_on() -> None:
    # 3.8 GB/s are little for PCIe 4.0 x16 (31.5 GB/s) and all of PCIe 1.0 x16 (4 GB/s), which it is from second 4 on.  # noqa: E501
    trace = device(
        pcie_generation=lambda at: 1 if at >= 4 else 4,
        pcie_width=16,
        pcie_rx_bytes_per_s=3.8e9,
        pcie_tx_bytes_per_s=1e9,
    )
    full, down = finding(trace, "pcie-saturated"), finding(trace, "pcie-downtrained")
    assert full.share == pytest.approx(0.6, abs=0.06) and value(full, "while near the peak") == 3.8
    assert down.share == pytest.approx(0.6 * (1 - 4 / 31.5), abs=0.06)


def test_a_link_that_trained_down_for_a_while_is_reported_for_that_time() -> None:
    def trained(begin: float, end: float) -> Trace:
        lower = lambda at: 1 if begin <= at < end else 4  # noqa: E731
        return device(
            pcie_generation=lower, pcie_width=16, pcie_rx_bytes_per_s=3.8e9, pcie_tx_bytes_per_s=1e9
        )

    down, full = (finding(trained(5, 8), id) for id in ("pcie-downtrained", "pcie-saturated"))
    assert "PCIe 1.0 x16 (4 GB/s) for 30 % of the time in which it works" in down.headline
    assert "3.8 of 4 GB/s" in full.explanation and full.share == pytest.approx(0.3, abs=0.06)
    assert "pcie-downtrained" in diagnose_trace(trained(5, 5.6)).clear, (
        "a reading or two may be of the rest before"
    )


def test_links_to_devices_of_ranks_that_were_not_recorded_are_in_use_too() -> None:
    mesh = [LinkFacts(at, "gpu", f"0000:1{1 + at % 3}:00.0", 3, -1.0) for at in range(12)]
    others = [
        HELD | {"device": at, "process": who, "pid": 100 + at, "ts": SECOND}
        for at, who in ((1, 1), (2, -1))
    ]
    rates = {"nvlink_tx_bytes_per_s": 150e9, "nvlink_rx_bytes_per_s": 150e9}
    for rows, peak in ((others, 200.0), (others[:1], 100.0)):
        made = device(devices=4, holders=rows, **rates)
        for number, one in enumerate(made.manifest.devices):
            one.links, one.bus_id = [] if number else mesh, f"0000:1{number}:00.0"
        link = next(
            one for one in made.fact(link_use) if one.kind == "nvlink" and one.name == "device 0"
        )
        assert link.peak_bytes_per_s / 1e9 == peak


def test_what_a_full_link_moves_is_of_the_time_in_which_it_was_full() -> None:
    trace = device(
        nvlink_tx_bytes_per_s=5e9, nvlink_rx_bytes_per_s=lambda at: 430e9 if 3 < at <= 6 else 5e9
    )
    found = finding(trace, "nvlink-saturated")
    assert value(found, "while near the peak") == 430 and "430 of 450 GB/s" in found.explanation
    assert value(found, "in, over the whole time") == pytest.approx(0.3 * 430 + 0.7 * 5)
    assert found.share == pytest.approx(0.3)


def test_a_link_that_counted_more_than_it_can_carry_is_not_believed() -> None:
    told = diagnose_trace(device(nvlink_tx_bytes_per_s=600e9, nvlink_rx_bytes_per_s=5e9))
    reason = next(one.reason for one in told.not_checked if one.id == "nvlink-saturated")
    assert (
        "counted 600 GB/s, more than the 450 GB/s that 18 links to the switch can carry" in reason
    )
    once = device(
        nvlink_tx_bytes_per_s=lambda at: 9e15 if at == 5 else 430e9, nvlink_rx_bytes_per_s=5e9
    )
    found = finding(once, "nvlink-saturated")
    assert value(found, "the most in one reading") == 430, "a counter that jumped once"


def test_counted_time_is_not_stretched_over_what_was_not_read() -> None:
    held = {
        "held_thermal_ns": lambda at: min(max(at - 2, 0), 3) * SECOND,
        "clock_events": lambda at: 64 if 2 < at <= 5 else 0,
    }
    for tables in ({}, gap(6, 3)):
        trace = device(sm_clock_mhz=lambda at: 990 if 2 < at <= 5 else 1980, tables=tables, **held)
        assert value(finding(trace, "throttled"), "held by temperature (counted") == pytest.approx(
            3.0
        )


def test_a_power_limit_that_comes_and_goes_is_the_one_that_held() -> None:
    low = {
        "power_limit_w": lambda at: 350 if 3 < at <= 6 else 700,
        "power_w": lambda at: 350 if 3 < at <= 6 else 560,
    }
    held = {
        "held_power_ns": lambda at: min(max(at - 3, 0), 3) * SECOND,
        "clock_events": lambda at: 4 if 3 < at <= 6 else 0,
    }
    found = finding(
        device(sm_clock_mhz=lambda at: 990 if 3 < at <= 6 else 1980, **low, **held), "power-capped"
    )
    assert found.cause == "limit-lowered" and found.share == pytest.approx(0.15)
    assert (value(found, "limit meanwhile"), value(found, "power meanwhile")) == (350.0, 350.0)
    assert "its limit of 350 W; the default is 700 W" in found.explanation


def test_an_idle_link_is_reported_as_idle() -> None:
    trace = device(
        kernel_time_share=0.0,
        pcie_generation=1,
        pcie_width=16,
        pcie_rx_bytes_per_s=0,
        pcie_tx_bytes_per_s=0,
        missing={"pcie_tx_bytes": "its counter has 32 bits"},
    )
    told = {one.id: one.reason for one in diagnose_trace(trace).not_checked}
    assert told["pcie-downtrained"] == NOT_READ
    assert told["pcie-saturated"] == told["pcie-downtrained"]


def test_a_list_of_processes_that_is_refused_is_not_an_empty_one() -> None:
    refused = {"processes": "no permission (the driver keeps it to the administrator)"}
    told = diagnose_trace(device(missing=refused, listed=False, devices=2))
    throttled = next(entry for entry in told.not_checked if entry.id == "throttled")
    assert throttled.group == "not-permitted" and refused["processes"] in throttled.reason


def test_energy_of_a_step_leaves_out_what_ran_between_steps() -> None:
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
    trace = device(
        loop.at / 1e9, tables={**loop.tables, "windows": [window]}, energy_j=lambda at: 500 * at
    )
    rows = trace.fact(energy_windows)
    assert len(rows) > 1 and rows["energy_j_per_step"].to_numpy() == pytest.approx(
        500 * 0.007, rel=0.02
    )


def test_no_line_is_drawn_over_a_gap() -> None:
    for tables, breaks in (({}, 0), (gap(4.1, 1), 1)):
        parts = devices(device(power_w=500.0, tables=tables))
        drawn = next(
            part for part in parts if isinstance(part, Section) and part.id == "device-power"
        )
        assert sum(one is None for one in drawn.figure.data[0].y) == breaks
    assert isolated_readings(np.array([1.0, np.nan, 2.0, np.nan, 3.0, 4.0])).tolist() == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]
    power = np.ones(5000)
    power[777] = np.nan
    at, kept = thinned_line(np.arange(5000.0), power)
    assert at[np.isnan(kept)].tolist() == [777.0] and (np.diff(at) > 0).all() and len(at) < 1100


def test_errors_of_a_device_that_the_job_does_not_use_say_so() -> None:
    said = {}
    for number in (0, 1):
        rows = [
            {
                "host": "host",
                "device": number,
                "ts": at * SECOND,
                "name": "nvlink_error_count",
                "value": 50.0 * at,
            }
            for at in range(9)
        ]
        made = device(devices=2, tables={"device_counters": rows})
        said[number] = claim(finding(made, "link-errors"))
    assert "does not use" in said[1] and "does not use" not in said[0]


def test_an_instance_of_mig_is_throttled_with_its_whole_device() -> None:
    held = {
        "held_thermal_ns": lambda at: 0.5 * at * SECOND,
        "clock_events": 64,
        "sm_clock_mhz": 990,
    }
    on_instance = [HELD | {"device": 1, "ts": at * SECOND} for at in range(9)]
    trace = device(listed=False, devices=2, tables={"device_processes": on_instance}, **held)
    trace.manifest.devices[0].boost_clock_mhz = 1980
    trace.manifest.devices[1].parent = 0
    found = finding(trace, "throttled")
    assert found.share == pytest.approx(0.25)
    assert (found.devices, found.processes) == ([0], [0])
