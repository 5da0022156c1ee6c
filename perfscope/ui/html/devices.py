"""The devices of a job over time: their counters on a background of its steps, and their links."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import losses
from perfscope.analyzer.counters.series import device_series, gaps_of
from perfscope.analyzer.devices.energy import DeviceEnergy, energy, energy_windows
from perfscope.analyzer.devices.job_phases import Marks, marks
from perfscope.analyzer.devices.link_map import link_maps
from perfscope.analyzer.number_text import digits, percent
from perfscope.traces.trace import Trace
from perfscope.ui.figures.counter_lines import Line, counter_lines
from perfscope.ui.figures.link_map import link_map
from perfscope.ui.html.sections import Section, span_s
from perfscope.ui.html.tables import Column, Table

GB = 1e-9


@dataclass(frozen=True)
class Chart:
    """One counter of all devices; of several names (two directions) the larger. `limit` is that of
    the first device.
    """

    id: str
    title: str
    note: str
    names: tuple[str, ...]
    unit: str
    scale: float = 1.0
    limit: Callable[[DeviceUse], float] | None = None
    limit_name: str = ""


CHARTS = (
    Chart(
        "kernels",
        "Kernel active",
        "Share of the time with at least one kernel. It does not say how busy the SMs were.",
        ("kernel_time_share",),
        "%",
        100.0,
    ),
    Chart(
        "sms",
        "SMs with work",
        "Mean share of SMs with at least one warp; waiting warps count (GPM).",
        ("sm_active",),
        "%",
        100.0,
    ),
    Chart(
        "tensor",
        "Tensor cores",
        "Share of cycles in which the tensor cores were active (GPM).",
        ("tensor_active",),
        "%",
        100.0,
    ),
    Chart(
        "dram",
        "Memory bandwidth",
        "Share of the theoretical peak; about 80 % is reached in practice (GPM).",
        ("dram_active",),
        "%",
        100.0,
        lambda one: 80.0,
        "practical limit",
    ),
    Chart(
        "power",
        "Power",
        "Power of the board.",
        ("power_w",),
        "W",
        1.0,
        lambda one: one.facts.power_limit_w,
        "limit",
    ),
    Chart(
        "clock",
        "SM clock",
        "Drops under power or thermal limits.",
        ("sm_clock_mhz",),
        "MHz",
        1.0,
        lambda one: float(one.facts.boost_clock_mhz),
        "maximum",
    ),
    Chart("temperature", "Temperature", "Temperature of the chip.", ("temperature_c",), "°C"),
    Chart(
        "memory",
        "Memory in use",
        "Used by all processes and the driver.",
        ("memory_used_bytes",),
        "GB",
        GB,
        lambda one: one.facts.memory_bytes * GB,
        "total",
    ),
    Chart(
        "nvlink",
        "NVLink",
        "The busier direction, sum of all links. Short bursts are averaged out.",
        ("nvlink_tx_bytes_per_s", "nvlink_rx_bytes_per_s"),
        "GB/s",
        GB,
    ),
    Chart(
        "pcie",
        "PCIe",
        "The busier direction, packet headers included.",
        ("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s"),
        "GB/s",
        GB,
    ),
)
LINKS = ("nvlink", "pcie")
SHORT_S = 0.5
"""A gap that ends this close to the end of the recording is shown without an end."""
COLUMNS = (
    Column("device", "device", "number on its host"),
    Column("name", "name", "name from the driver"),
    Column("ranks", "used by", "ranks of this job on it"),
    Column("kernels", "kernel active", "share of the time with at least one kernel"),
    Column("sms", "SMs with work", "mean share of SMs with at least one warp (GPM)"),
    Column("memory", "memory", "mean memory in use, and the total"),
    Column("power", "power", "mean power, and the limit"),
    Column("clock", "clock", "mean SM clock, and the maximum"),
    Column("energy", "energy per step", "joules per steady step; needs a second or more of steps"),
    Column("per_sample", "per sample", "joules per sample, where the batch size is known"),
)


def devices(trace: Trace) -> list[Section | Table]:
    """Everything there is to show; empty where no device was read (a profiler's trace only names
    them).
    """
    uses = trace.fact(all_devices)
    if not uses or not trace.has("device_counters"):
        return []
    told = trace.fact(marks)
    several = len({one.host for one in uses}) > 1
    shown = trace.fact(device_use) or uses
    charts = [
        chart for one in CHARTS if (chart := drawn(trace, one, shown, told, several)) is not None
    ]
    charts += of_energy(trace, told, several)
    halves = [*charts[: len(charts) - len(charts) % 2]]
    rest = charts[len(halves) :]
    return [
        of_devices(trace, uses, several),
        *of_links(trace, several),
        *halves,
        *(Section(one.id, one.title, one.note, one.figure) for one in rest),
    ]


def drawn(
    trace: Trace, chart: Chart, uses: list[DeviceUse], told: Marks, several: bool
) -> Section | None:
    """One chart, None where no device has the counter."""
    series = trace.fact(device_series)
    lines = []
    for use in uses:
        own = series[
            (series["host"] == use.host)
            & (series["device"] == use.device)
            & series["name"].isin(chart.names)
        ]
        if len(own):
            largest = own.groupby("ts")["value"].max() * chart.scale
            broken = pd.Series(
                np.nan, [begin for begin, _ in gaps_of(trace, use.host, use.device)], np.float64
            )
            largest = pd.concat([largest, broken]).sort_index()
            at = largest.index.to_numpy(np.int64) / 1e9
            lines.append(Line(called(use, several), at, largest.to_numpy(np.float64)))
    if not lines:
        return None
    limit = limit_of(trace, chart, uses)
    figure = counter_lines(
        lines, chart.unit, span_s(trace), told, limit=limit, limit_name=chart.limit_name or "peak"
    )
    shaded = ", ".join(dict.fromkeys(what for _, _, what in told.stretches))
    note = f"{chart.note} Shaded: {shaded}." if shaded else chart.note
    return Section(f"device-{chart.id}", chart.title, note, figure, half=True)


def limit_of(trace: Trace, chart: Chart, uses: list[DeviceUse]) -> float | None:
    """What the line is held against: the device's own limit, or the peak of the links in use."""
    if chart.id in LINKS:
        peaks = [one.peak_bytes_per_s for one in trace.fact(link_use) if one.kind == chart.id]
        return max(peaks) * chart.scale if peaks else None
    if chart.limit is None:
        return None
    limit = chart.limit(uses[0])
    return limit if limit > 0 else None


def of_devices(trace: Trace, uses: list[DeviceUse], several: bool) -> Table:
    """A row a device."""
    joules = {(one.use.host, one.use.device): one for one in trace.fact(energy)}
    lost = [one.use for one in trace.fact(losses)]
    rows = pd.DataFrame([row(one, several, joules.get((one.host, one.device))) for one in uses])
    rows["device"] += ["" if all(one is not use for one in lost) else ", lost" for use in uses]
    note = (
        "Means over the steady steps. An active kernel does not mean a busy device: a small kernel"
        " uses few SMs."
    )
    return Table(
        "devices",
        "Devices",
        " ".join([note, *unread(trace, several)]),
        COLUMNS,
        rows,
        wraps=True,
    )


def unread(trace: Trace, several: bool) -> list[str]:
    """`GPU 1 could not be read from 4 s on: the device fell off the bus.`"""
    gaps, end_s = trace.table("device_gaps"), span_s(trace)[1]
    found = []
    for one in [] if gaps is None else gaps.to_dict("records"):
        who = f"GPU {one['device']}" if one["device"] >= 0 else "No device"
        where = f" of {one['host']}" if several else ""
        begin, end = one["ts"] / 1e9, (one["ts"] + one["dur"]) / 1e9
        until = "on" if end >= end_s - SHORT_S else f"to {digits(end)} s"
        cannot = "could not be read" if one["device"] >= 0 else "could be read"
        found.append(f"{who}{where} {cannot} from {digits(begin)} s {until}: {one['reason']}.")
    return found


def row(use: DeviceUse, several: bool, joules: DeviceEnergy | None) -> dict[str, str]:
    mean, facts = use.means, use.facts

    def of(name: str, told: Callable[[float], str], limit: str = "") -> str:
        if name in mean:
            return told(mean[name]) + limit
        return "not supported" if any(name in one for one in facts.missing) else "not read"

    whole = f" of {digits(facts.memory_bytes * GB)} GB" if facts.memory_bytes > 0 else ""
    most = f" of {digits(facts.power_limit_w)} W" if facts.power_limit_w > 0 else " W"
    clock = f" of {facts.boost_clock_mhz} MHz" if facts.boost_clock_mhz > 0 else " MHz"
    return {
        "device": called(use, several),
        "name": facts.name,
        "ranks": (
            ", ".join(f"rank {one}" for one in use.ranks)
            or ("not reported" if not use.certain else "not this job")
        ),
        "kernels": of("kernel_time_share", percent),
        "sms": of("sm_active", percent),
        "memory": of("memory_used_bytes", lambda value: digits(value * GB), whole),
        "power": of("power_w", digits, most),
        "clock": of("sm_clock_mhz", digits, clock),
        "energy": in_joules(None if joules is None else joules.joules_per_step),
        "per_sample": in_joules(None if joules is None else joules.joules_per_sample),
    }


def in_joules(value: float | None) -> str:
    return "not known" if value is None else f"{digits(value)} J"


def of_energy(trace: Trace, told: Marks, several: bool) -> list[Section]:
    """Joules a step over time, a point for each second or more of whole steps."""
    rows = trace.fact(energy_windows)
    rows = rows[rows["energy_j_per_step"].notna()] if len(rows) else rows
    lines = []
    for (host, device), own in rows.groupby(["host", "device"], sort=True) if len(rows) else ():
        at = (own["ts"] + own["dur"] // 2).to_numpy(np.float64) / 1e9
        name = f"GPU {device}" + (f" of {host}" if several else "")
        lines.append(Line(name, at, own["energy_j_per_step"].to_numpy(np.float64)))
    if not lines:
        return []
    note = "One point per second or more of whole steps: the driver's counter is not more precise."
    return [
        Section(
            "device-energy",
            "Energy per step",
            note,
            counter_lines(lines, "J", span_s(trace), told),
            half=True,
        )
    ]


def called(use: DeviceUse, several: bool) -> str:
    return f"GPU {use.device}" + (f" of {use.host}" if several else "")


def of_links(trace: Trace, several: bool) -> list[Section]:
    """The map of each host."""
    note = (
        "Links between the devices. A darker line is a busier link; a dotted line shows proximity."
        " Hover over a link or a device for details."
    )
    return [
        Section(
            f"link-map-{number}",
            f"Topology of {one.host}" if several else "Topology",
            note,
            link_map(one),
        )
        for number, one in enumerate(trace.fact(link_maps))
    ]
