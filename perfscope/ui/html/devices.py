"""The devices of a job over time: their counters on a background of its steps, and their links."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.counters.lost_devices import device_losses
from perfscope.analyzer.devices.energy import DeviceEnergy, energy, energy_windows
from perfscope.analyzer.devices.job_phases import JobPhases, job_phases
from perfscope.analyzer.devices.link_map import link_maps
from perfscope.analyzer.number_text import digits, percent
from perfscope.analyzer.run.accelerators.counter_series import device_series, gaps_of_device
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices, device_use
from perfscope.traces.trace import Trace
from perfscope.ui.figures.counter_lines import CounterLine, counter_lines
from perfscope.ui.figures.link_map import link_map
from perfscope.ui.figures.stacked_counters import CounterPanel, stacked_counters
from perfscope.ui.html.sections import Section, in_pairs, recording_span_s
from perfscope.ui.html.tables import Table, TableColumn

BYTES_TO_GB = 1e-9


@dataclass(frozen=True)
class Chart:
    """A counter of all devices; of several counters (two directions) the larger value.

    `limit` is that of the first device.
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
        lambda use: 80.0,
        "practical limit",
    ),
    Chart(
        "power",
        "Power",
        "Power of the board.",
        ("power_w",),
        "W",
        1.0,
        lambda use: use.facts.power_limit_w,
        "limit",
    ),
    Chart(
        "clock",
        "SM clock",
        "Drops under power or thermal limits.",
        ("sm_clock_mhz",),
        "MHz",
        1.0,
        lambda use: float(use.facts.boost_clock_mhz),
        "maximum",
    ),
    Chart("temperature", "Temperature", "Temperature of the chip.", ("temperature_c",), "°C"),
    Chart(
        "memory",
        "Memory in use",
        "Used by all processes and the driver.",
        ("memory_used_bytes",),
        "GB",
        BYTES_TO_GB,
        lambda use: use.facts.memory_bytes * BYTES_TO_GB,
        "total",
    ),
    Chart(
        "nvlink",
        "NVLink",
        "The busier direction, sum of all links. Short bursts are averaged out.",
        ("nvlink_tx_bytes_per_s", "nvlink_rx_bytes_per_s"),
        "GB/s",
        BYTES_TO_GB,
    ),
    Chart(
        "pcie",
        "PCIe",
        "The busier direction, packet headers included.",
        ("pcie_tx_bytes_per_s", "pcie_rx_bytes_per_s"),
        "GB/s",
        BYTES_TO_GB,
    ),
)
LINKS = ("nvlink", "pcie")
DEVICES_NOTE = (
    "Means over the steady steps. An active kernel does not mean a busy device: a small kernel uses"
    " few SMs."
)
ENERGY_NOTE = (
    "One point per second or more of whole steps: the driver's counter is not more precise."
)
TOPOLOGY_NOTE = (
    "Links between the devices. A darker line is a busier link; a dotted line shows proximity."
    " Hover over a link or a device for details."
)
SHARED_NOTE = "A line per device; the dashed line is a limit. Vertical lines are where steps begin."
ON_SHARED_AXIS = ("kernels", "memory", "power", "clock")
"""The counters that are drawn below each other, in this order."""
SHORT_S = 0.5
"""A gap that ends this close to the end of the recording is shown without an end."""
COLUMNS = (
    TableColumn("device", "device", "number on its host"),
    TableColumn("name", "name", "name from the driver"),
    TableColumn("ranks", "used by", "ranks of this job on it"),
    TableColumn("kernels", "kernel active", "share of the time with at least one kernel"),
    TableColumn("sms", "SMs with work", "mean share of SMs with at least one warp (GPM)"),
    TableColumn("memory", "memory", "mean memory in use, and the total"),
    TableColumn("power", "power", "mean power, and the limit"),
    TableColumn("clock", "clock", "mean SM clock, and the maximum"),
    TableColumn(
        "energy", "energy per step", "joules per steady step; needs a second or more of steps"
    ),
    TableColumn("per_sample", "per sample", "joules per sample, where the batch size is known"),
)


def devices(trace: Trace, rank: int | None = None) -> list[Section | Table]:
    """Return everything about the devices, or about those of a rank where they are known; empty
    where no device counters were read.
    """
    uses = devices_of_rank(trace.fact(all_devices), rank)
    if not uses or not trace.has("device_counters"):
        return []
    several_hosts = len({use.host for use in uses}) > 1
    phases = trace.fact(job_phases)
    measured = devices_of_rank(trace.fact(device_use), rank) or uses
    shared = shared_axis_chart(trace, measured, phases, several_hosts)
    apart = [chart for chart in CHARTS if not shared or chart.id not in ON_SHARED_AXIS]
    charts = [counter_chart(trace, chart, measured, phases, several_hosts) for chart in apart]
    found = [chart for chart in charts if chart is not None]
    found += energy_chart(trace, measured, phases, several_hosts)
    return [
        device_table(trace, uses, several_hosts),
        *topology(trace, several_hosts),
        *shared,
        *in_pairs(found),
    ]


def devices_of_rank(uses: list[DeviceUse], rank: int | None) -> list[DeviceUse]:
    """Return the devices that a rank uses; all of them where that is not known."""
    of_rank = [use for use in uses if rank is not None and rank in use.ranks]
    return of_rank or uses


def shared_axis_chart(
    trace: Trace, uses: list[DeviceUse], phases: JobPhases, several_hosts: bool
) -> list[Section]:
    """Return utilization, memory, power and clock on one time axis, where two of them are known."""
    panels = []
    for chart in sorted(CHARTS, key=panel_order):
        lines = lines_of_devices(trace, chart, uses, several_hosts)
        if chart.id in ON_SHARED_AXIS and lines:
            limit = chart_limit(trace, chart, uses)
            panels.append(CounterPanel(chart.title, chart.unit, lines, limit))
    if len(panels) < 2:
        return []
    shaded = ", ".join(dict.fromkeys(phase for _, _, phase in phases.stretches))
    note = f"{SHARED_NOTE} Shaded: {shaded}." if shaded else SHARED_NOTE
    figure = stacked_counters(panels, recording_span_s(trace), phases)
    return [Section("device-counters", "Devices over time", note, figure, is_plain=True)]


def panel_order(chart: Chart) -> int:
    """Return the place of a counter on the shared axis."""
    return ON_SHARED_AXIS.index(chart.id) if chart.id in ON_SHARED_AXIS else len(ON_SHARED_AXIS)


def lines_of_devices(
    trace: Trace, chart: Chart, uses: list[DeviceUse], several_hosts: bool
) -> list[CounterLine]:
    """Return the line of each device that has a counter."""
    lines = []
    for use in uses:
        values = values_with_gaps(trace, chart, use)
        if len(values):
            seconds = values.index.to_numpy(np.int64) / 1e9
            name = device_name(use.device, use.host, several_hosts)
            lines.append(CounterLine(name, seconds, values.to_numpy(np.float64)))
    return lines


def counter_chart(
    trace: Trace, chart: Chart, uses: list[DeviceUse], phases: JobPhases, several_hosts: bool
) -> Section | None:
    """Return the chart of a counter, None where no device has it."""
    lines = lines_of_devices(trace, chart, uses, several_hosts)
    if not lines:
        return None
    figure = counter_lines(
        lines,
        chart.unit,
        recording_span_s(trace),
        phases,
        limit=chart_limit(trace, chart, uses),
        limit_name=chart.limit_name or "peak",
    )
    shaded = ", ".join(dict.fromkeys(phase for _, _, phase in phases.stretches))
    note = f"{chart.note} Shaded: {shaded}." if shaded else chart.note
    return Section(f"device-{chart.id}", chart.title, note, figure, half=True, is_plain=True)


def values_with_gaps(trace: Trace, chart: Chart, use: DeviceUse) -> pd.Series:
    """Return the values of a device by time; NaN where its readings were interrupted."""
    series = trace.fact(device_series)
    is_device = (series["host"] == use.host) & (series["device"] == use.device)
    rows = series[is_device & series["name"].isin(chart.names)]
    if not len(rows):
        return pd.Series(dtype=np.float64)
    values = rows.groupby("ts")["value"].max() * chart.scale
    gap_begins = [begin for begin, _ in gaps_of_device(trace, use.host, use.device)]
    gaps = pd.Series(np.nan, gap_begins, np.float64)
    with_gaps: pd.Series = pd.concat([values, gaps]).sort_index()
    return with_gaps


def chart_limit(trace: Trace, chart: Chart, uses: list[DeviceUse]) -> float | None:
    """Return the limit of a chart: that of the device, or the peak of the links in use."""
    if chart.id in LINKS:
        peaks = [link.peak_bytes_per_s for link in trace.fact(link_use) if link.kind == chart.id]
        return max(peaks) * chart.scale if peaks else None
    if chart.limit is None:
        return None
    limit = chart.limit(uses[0])
    return limit if limit > 0 else None


def device_table(trace: Trace, uses: list[DeviceUse], several_hosts: bool) -> Table:
    """Return the table of devices, a row each."""
    joules = {(each.use.host, each.use.device): each for each in trace.fact(energy)}
    lost = [loss.use for loss in trace.fact(device_losses)]
    rows = []
    for use in uses:
        row = device_row(use, joules.get((use.host, use.device)))
        is_lost = any(each is use for each in lost)
        name = device_name(use.device, use.host, several_hosts)
        rows.append({"device": f"{name}, lost" if is_lost else name, **row})
    note = " ".join([DEVICES_NOTE, *reading_gaps(trace, several_hosts)])
    return Table("devices", "Devices", note, COLUMNS, pd.DataFrame(rows), wraps=True)


def reading_gaps(trace: Trace, several_hosts: bool) -> list[str]:
    """Return a sentence per gap: `GPU 1 was not read from 4 s on: the device fell off the bus.`"""
    gaps = trace.table("device_gaps")
    end_s = recording_span_s(trace)[1]
    found = []
    for gap in [] if gaps is None else gaps.to_dict("records"):
        name = "No device was read"
        if gap["device"] >= 0:
            name = f"{device_name(gap['device'], gap['host'], several_hosts)} was not read"
        elif several_hosts:
            name = f"No device of {gap['host']} was read"
        gap_begin_s = gap["ts"] / 1e9
        gap_end_s = (gap["ts"] + gap["dur"]) / 1e9
        until = "on" if gap_end_s >= end_s - SHORT_S else f"to {digits(gap_end_s)} s"
        found.append(f"{name} from {digits(gap_begin_s)} s {until}: {gap['reason']}.")
    return found


def device_row(use: DeviceUse, joules: DeviceEnergy | None) -> dict[str, str]:
    """Return the cells of a device, but for its name."""
    facts = use.facts
    memory_limit = (
        f" of {digits(facts.memory_bytes * BYTES_TO_GB)} GB" if facts.memory_bytes > 0 else ""
    )
    power_limit = f" of {digits(facts.power_limit_w)} W" if facts.power_limit_w > 0 else " W"
    most_mhz = facts.boost_clock_mhz
    clock_limit = f" of {most_mhz} MHz" if most_mhz > 0 else " MHz"
    ranks = ", ".join(f"rank {rank}" for rank in use.ranks)
    return {
        "name": facts.name,
        "ranks": ranks or ("not this job" if use.certain else "not reported"),
        "kernels": mean_text(use, "kernel_time_share", percent),
        "sms": mean_text(use, "sm_active", percent),
        "memory": mean_text(use, "memory_used_bytes", gigabytes_text, memory_limit),
        "power": mean_text(use, "power_w", digits, power_limit),
        "clock": mean_text(use, "sm_clock_mhz", digits, clock_limit),
        "energy": joules_text(None if joules is None else joules.joules_per_step),
        "per_sample": joules_text(None if joules is None else joules.joules_per_sample),
    }


def mean_text(
    use: DeviceUse, counter: str, format_value: Callable[[float], str], limit: str = ""
) -> str:
    """Return the mean of a counter, or why it is not known."""
    if counter in use.means:
        return format_value(use.means[counter]) + limit
    is_missing = any(counter in text for text in use.facts.missing)
    return "not supported" if is_missing else "not read"


def gigabytes_text(value: float) -> str:
    """Return bytes as a number of GB."""
    return digits(value * BYTES_TO_GB)


def joules_text(value: float | None) -> str:
    """Return joules, or that they are not known."""
    return "not known" if value is None else f"{digits(value)} J"


def energy_chart(
    trace: Trace, uses: list[DeviceUse], phases: JobPhases, several_hosts: bool
) -> list[Section]:
    """Return the energy per step over time."""
    rows = trace.fact(energy_windows)
    if not len(rows):
        return []
    known = rows[rows["energy_j_per_step"].notna()]
    lines, shown = [], {(use.host, use.device) for use in uses}
    for (host, device), windows in known.groupby(["host", "device"], sort=True):
        if (host, device) not in shown:
            continue
        seconds = (windows["ts"] + windows["dur"] // 2).to_numpy(np.float64) / 1e9
        values = windows["energy_j_per_step"].to_numpy(np.float64)
        name = device_name(int(str(device)), str(host), several_hosts)
        lines.append(CounterLine(name, seconds, values))
    if not lines:
        return []
    figure = counter_lines(lines, "J", recording_span_s(trace), phases)
    title = "Energy per step"
    return [Section("device-energy", title, ENERGY_NOTE, figure, half=True, is_plain=True)]


def device_name(device: int, host: str, several_hosts: bool) -> str:
    """Return `GPU 0`, with its host where there are several."""
    return f"GPU {device} of {host}" if several_hosts else f"GPU {device}"


def topology(trace: Trace, several_hosts: bool) -> list[Section]:
    """Return the links between the devices of each host."""
    return [
        Section(
            f"link-map-{number}",
            f"Topology of {links.host}" if several_hosts else "Topology",
            TOPOLOGY_NOTE,
            link_map(links),
            is_plain=True,
        )
        for number, links in enumerate(trace.fact(link_maps))
    ]
