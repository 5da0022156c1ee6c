"""The use of the links: NVLink and PCIe of each device of the job, and the network ports, against
their peaks.

A counter that is read a few times per second averages bursts away: it can show that a link was
full, never that it was not.
"""

from dataclasses import dataclass
from typing import Final

import pandas as pd

from perfscope.analyzer.counters.network_ports import SOURCE, rates_of_port
from perfscope.analyzer.counters.pcie_links import (
    Floats,
    PcieLink,
    pcie_links,
    peak_at_readings,
)
from perfscope.analyzer.hardware.link_generations import PCIE_SOURCE, nvlink_bytes_per_s
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.accelerators.counter_series import (
    longest_run_of_readings,
    share_of_time,
    time_mean,
)
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.device_facts import LinkFacts, PortFacts
from perfscope.traces.trace import Trace

SWITCH: Final = "switch"
NEVER_CLEARED: Final = (
    "no stretch near the peak was seen in counters that are read {hz:.2g} times per second; they"
    " average bursts away, so that cannot clear it"
)


@dataclass(frozen=True)
class LinkIdentity:
    """Which link it is: `kind` nvlink, pcie or network, and its peak in each direction.

    `path` says which links were counted, `source` where the peak is from.
    """

    kind: str
    host: str
    name: str
    use: DeviceUse | None
    peak_bytes_per_s: float
    source: str
    path: str


@dataclass(frozen=True)
class LinkUse:
    """A link over the window of its device: bytes per second in each direction.

    `near_share` is the share of the time near the peak, `near_bytes_per_s` the mean of the fuller
    direction then, `full` the longest stretch of it in ns. Where not `believed`, more was counted
    than the peak, so that one of the two is wrong, and `near_share` is 0. The first fields are
    those of LinkIdentity.
    """

    kind: str
    host: str
    name: str
    use: DeviceUse | None
    peak_bytes_per_s: float
    source: str
    path: str
    tx_bytes_per_s: float
    rx_bytes_per_s: float
    most_bytes_per_s: float
    near_bytes_per_s: float
    near_share: float
    full: tuple[int, int] | None
    readings_per_s: float
    believed: bool = True

    @property
    def share_of_peak(self) -> float:
        """The mean of the fuller direction over the peak."""
        return max(self.tx_bytes_per_s, self.rx_bytes_per_s) / self.peak_bytes_per_s


def link_use(trace: Trace) -> list[LinkUse]:
    """Return each link of the job's devices whose peak and traffic are both known."""
    uses = trace.fact(device_use)
    found = [nvlink_use(trace, use, uses) for use in uses]
    found += [pcie_use(trace, link) for link in trace.fact(pcie_links)]
    found += [
        network_use(trace, manifest.host, port)
        for manifest in trace.manifests
        for port in manifest.ports
    ]
    return [link for link in found if link is not None]


def network_use(trace: Trace, host: str, port: PortFacts) -> LinkUse | None:
    """Return the use of a port whose rate the kernel reports."""
    if port.bytes_per_s <= 0:
        return None
    name = f"port {port.port}"
    identity = LinkIdentity("network", host, name, None, port.bytes_per_s, SOURCE, name)
    return use_by_rates(identity, rates_of_port(trace, host, port.port))


def pcie_use(trace: Trace, link: PcieLink) -> LinkUse | None:
    """Return the use of a PCIe link, each reading against what it could carry then."""
    use = link.use
    identity = LinkIdentity(
        kind="pcie",
        host=use.host,
        name=f"device {use.device}",
        use=use,
        peak_bytes_per_s=link.bytes_per_s,
        source=PCIE_SOURCE,
        path=link.state,
    )
    directions = rates_of_device(trace, use, "pcie")
    peaks = [peak_at_readings(trace, link, rows) for rows in directions]
    return use_by_rates(identity, directions, peaks)


def nvlink_use(trace: Trace, use: DeviceUse, uses: list[DeviceUse]) -> LinkUse | None:
    """Return the use of the links to the other devices of the job; all links lead to a switch."""
    links, path = links_in_use(use, [*uses, *occupied_devices(trace)])
    peaks = [nvlink_bytes_per_s(link.generation, link.bytes_per_s) for link in links]
    known = [peak for peak in peaks if peak is not None]
    if not known or len(known) < len(peaks):
        return None
    identity = LinkIdentity(
        kind="nvlink",
        host=use.host,
        name=f"device {use.device}",
        use=use,
        peak_bytes_per_s=sum(rate for rate, _ in known),
        source=known[0][1],
        path=path,
    )
    return use_by_rates(identity, rates_of_device(trace, use, "nvlink"))


def occupied_devices(trace: Trace) -> list[DeviceUse]:
    """Return the devices that run a process, and those whose processes are not known.

    Ranks that were not recorded may communicate with the job's devices, and counters are of all
    links.
    """
    listed = table(trace, "device_processes")
    occupied: set[tuple[str, int]] = set()
    if listed is not None:
        hosts = listed["host"].astype(str)
        occupied = set(zip(hosts, column(listed, "device").tolist(), strict=True))
    return [
        use
        for use in trace.fact(all_devices)
        if (use.host, use.device) in occupied or "processes" in use.facts.missing
    ]


def links_in_use(use: DeviceUse, uses: list[DeviceUse]) -> tuple[list[LinkFacts], str]:
    """Return the links between a device and these others of its host, and a text for them."""
    links = use.facts.links
    to_switch = [link for link in links if link.peer == SWITCH]
    if to_switch:
        return to_switch, f"{len(to_switch)} links to the switch"
    others = [other for other in uses if other.host == use.host and other.device != use.device]
    bus_ids = {other.facts.bus_id for other in others}
    between = [link for link in links if link.peer_bus_id in bus_ids]
    if between:
        return between, f"{len(between)} of {len(links)} links, those to the other devices in use"
    return links, f"all {len(links)} links"


def rates_of_device(trace: Trace, use: DeviceUse, kind: str) -> list[pd.DataFrame]:
    """Return [out, in] of a device's links of this kind over its window."""
    return [use.readings(trace, f"{kind}_{way}_bytes_per_s") for way in ("tx", "rx")]


def use_by_rates(
    identity: LinkIdentity, directions: list[pd.DataFrame], peaks: list[Floats] | None = None
) -> LinkUse | None:
    """Return the use of one link from the rates of its two directions.

    `peaks` are the peaks at each reading, where they differ. None without readings.
    """
    if not all(len(rows) for rows in directions):
        return None
    peak = identity.peak_bytes_per_s
    shares = [
        rows.assign(value=rows["value"] / (peaks[number] if peaks else peak))
        for number, rows in enumerate(directions)
    ]
    beyond = max(share_of_time(rows, LIMITS.impossible_link) for rows in shares)
    believed = beyond < LIMITS.full_link_share
    if believed:
        # A counter that jumped: the other readings are valid.
        possible = [rows["value"] < LIMITS.impossible_link for rows in shares]
        shares = [rows[kept] for rows, kept in zip(shares, possible, strict=True)]
        directions = [rows[kept] for rows, kept in zip(directions, possible, strict=True)]
    if not all(len(rows) for rows in directions):
        return None
    fuller = max(range(len(shares)), key=lambda number: fullness(shares[number]))
    is_near = shares[fuller]["value"] >= LIMITS.near_link_peak
    span_s = float(shares[fuller]["span"].sum()) / 1e9
    near_share = share_of_time(shares[fuller], LIMITS.near_link_peak) if believed else 0.0
    return LinkUse(
        kind=identity.kind,
        host=identity.host,
        name=identity.name,
        use=identity.use,
        peak_bytes_per_s=peak,
        source=identity.source,
        path=identity.path,
        tx_bytes_per_s=time_mean(directions[0]) or 0.0,
        rx_bytes_per_s=time_mean(directions[1]) or 0.0,
        most_bytes_per_s=max(float(rows["value"].max()) for rows in directions),
        near_bytes_per_s=time_mean(directions[fuller][is_near]) or 0.0,
        near_share=near_share,
        believed=believed,
        full=longest_run_of_readings(shares[fuller], LIMITS.near_link_peak),
        readings_per_s=len(shares[fuller]) / span_s if span_s > 0 else 0.0,
    )


def fullness(shares: pd.DataFrame) -> tuple[float, float]:
    """Return how long a direction is near its peak, and its mean share of it."""
    return share_of_time(shares, LIMITS.near_link_peak), time_mean(shares) or 0.0
