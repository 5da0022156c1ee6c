"""How full the links in use were: NVLink and PCIe of each device of the job, and the network ports,
against their peaks.

A counter that is read a few times a second averages bursts away: it can show that a link was full,
never that it was not.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.counters.network_ports import SOURCE, rates_of
from perfscope.analyzer.counters.pcie_links import PcieLink, pcie_links, peak_at
from perfscope.analyzer.counters.series import (
    device_series,
    longest_at,
    mean,
    share_of_time,
    within,
)
from perfscope.analyzer.hardware.link_generations import PCIE_SOURCE, nvlink_bytes_per_s
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.device_facts import LinkFacts, PortFacts
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
SWITCH: Final = "switch"
NEVER_CLEARED: Final = (
    "no stretch near the peak was seen in counters that are read {hz:.2g} times a second; they"
    " average bursts away, so that cannot clear it"
)


@dataclass(frozen=True)
class LinkUse:
    """A link over the window of its device: bytes a second in each direction, `near_share` of the
    time within reach of the peak.

    `kind`: nvlink, pcie or network. `path` says which links were counted. `near_bytes_per_s` is the
    fuller direction's mean while near the peak, `full` the longest stretch of that, ns. Not
    `believed`: more was counted than the peak, so that one of the two is wrong, and `near_share` is
    0.
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
    """One for each link of the job's devices whose peak and traffic are both known."""
    uses = trace.fact(device_use)
    found = [nvlink(trace, use, uses) for use in uses]
    found += [pcie(trace, link) for link in trace.fact(pcie_links)]
    found += [
        network(trace, manifest.host, port)
        for manifest in trace.manifests
        for port in manifest.ports
    ]
    return [one for one in found if one is not None]


def network(trace: Trace, host: str, port: PortFacts) -> LinkUse | None:
    """A port whose rate the kernel says."""
    if port.bytes_per_s <= 0:
        return None
    ways = rates_of(trace, host, port.port)
    return summed_up(
        "network",
        host,
        f"port {port.port}",
        None,
        port.bytes_per_s,
        SOURCE,
        f"port {port.port}",
        ways,
    )


def pcie(trace: Trace, link: PcieLink) -> LinkUse | None:
    """Each reading against what the link could carry then."""
    ways = rates(trace, link.use, "pcie")
    peaks = [peak_at(trace, link, one) for one in ways]
    return summed_up(
        "pcie",
        link.use.host,
        f"device {link.use.device}",
        link.use,
        link.now_bytes_per_s,
        PCIE_SOURCE,
        link.now,
        ways,
        peaks,
    )


def nvlink(trace: Trace, use: DeviceUse, uses: list[DeviceUse]) -> LinkUse | None:
    """The links to the other devices of the job; to a switch all of them lead there."""
    links, path = links_in_use(use, [*uses, *occupied(trace)])
    peaks = [nvlink_bytes_per_s(link.generation, link.bytes_per_s) for link in links]
    known = [peak for peak in peaks if peak is not None]
    if not known or len(known) < len(peaks):
        return None
    return of_counters(trace, use, "nvlink", sum(rate for rate, _ in known), known[0][1], path)


def occupied(trace: Trace) -> list[DeviceUse]:
    """Devices with anybody's process, as far as it is known: ranks that were not recorded may talk
    to ours, and the counters are of all links.
    """
    listed = table(trace, "device_processes")
    rows = (
        ()
        if listed is None
        else zip(listed["host"].astype(str), column(listed, "device").tolist(), strict=True)
    )
    who = set(rows)
    return [
        one
        for one in trace.fact(all_devices)
        if (one.host, one.device) in who or "processes" in one.facts.missing
    ]


def links_in_use(use: DeviceUse, uses: list[DeviceUse]) -> tuple[list[LinkFacts], str]:
    """The links between a device and these others of its host, and how to say so."""
    links = use.facts.links
    if any(link.peer == SWITCH for link in links):
        through = [link for link in links if link.peer == SWITCH]
        return through, f"{len(through)} links to the switch"
    mates = {one.facts.bus_id for one in uses if one.host == use.host and one.device != use.device}
    between = [link for link in links if link.peer_bus_id in mates]
    if between:
        return between, f"{len(between)} of {len(links)} links, those to the other devices in use"
    return links, f"all {len(links)} links"


def of_counters(
    trace: Trace, use: DeviceUse, kind: str, peak: float, source: str, path: str
) -> LinkUse | None:
    """The link as the counters of its device say; None where there are none of it."""
    return summed_up(
        kind, use.host, f"device {use.device}", use, peak, source, path, rates(trace, use, kind)
    )


def rates(trace: Trace, use: DeviceUse, kind: str) -> list[pd.DataFrame]:
    """[out, in] of a link of this kind over the window of its device."""
    series = trace.fact(device_series)
    return [
        within(series, use.host, use.device, f"{kind}_{way}_bytes_per_s", use.begin_ns, use.end_ns)
        for way in ("tx", "rx")
    ]


def summed_up(
    kind: str,
    host: str,
    name: str,
    use: DeviceUse | None,
    peak: float,
    source: str,
    path: str,
    ways: list[pd.DataFrame],
    peaks: list[Floats] | None = None,
) -> LinkUse | None:
    """The figures of one link from the rates of its two directions; `peaks`: of each reading, where
    they differ.
    """
    if not all(len(one) for one in ways):
        return None
    parts = [
        one.assign(value=one["value"] / (peaks[at] if peaks else peak))
        for at, one in enumerate(ways)
    ]
    beyond = max(share_of_time(one, LIMITS.impossible_link) for one in parts)
    kept = [one["value"] < LIMITS.impossible_link for one in parts]
    if beyond < LIMITS.full_link_share:  # a counter that jumped: what else was read stands
        parts, ways = (
            [one[own] for one, own in zip(both, kept, strict=True)] for both in (parts, ways)
        )
    if not all(len(one) for one in ways):
        return None
    most = max(
        range(len(parts)),
        key=lambda at: (share_of_time(parts[at], LIMITS.near_link_peak), mean(parts[at]) or 0.0),
    )
    fuller = parts[most]
    near = ways[most][fuller["value"] >= LIMITS.near_link_peak]
    span_s = float(fuller["span"].sum()) / 1e9
    return LinkUse(
        kind=kind,
        host=host,
        name=name,
        use=use,
        peak_bytes_per_s=peak,
        source=source,
        path=path,
        tx_bytes_per_s=mean(ways[0]) or 0.0,
        rx_bytes_per_s=mean(ways[1]) or 0.0,
        most_bytes_per_s=float(np.max([one["value"].max() for one in ways])),
        near_bytes_per_s=mean(near) or 0.0,
        near_share=(
            share_of_time(fuller, LIMITS.near_link_peak) if beyond < LIMITS.full_link_share else 0.0
        ),
        believed=beyond < LIMITS.full_link_share,
        full=longest_at(fuller, LIMITS.near_link_peak),
        readings_per_s=len(fuller) / span_s if span_s > 0 else 0.0,
    )
