"""Which devices, switches, processors and network ports of a host are joined by what, and how full
each link in use was.
"""

from collections import Counter
from dataclasses import dataclass

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices
from perfscope.analyzer.counters.link_use import LinkUse, link_use
from perfscope.analyzer.hardware.link_generations import pcie_name
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.traces.device_facts import PortFacts
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.trace import Trace

DEVICE, SWITCH, NODE, PORT = "device", "switch", "node", "port"


@dataclass(frozen=True)
class Knot:
    """Something that links end at; `used`: the job works on it."""

    name: str
    kind: str
    text: str
    used: bool = False


@dataclass(frozen=True)
class Edge:
    """A link, or several side by side, between two knots. `share`: mean of the fuller direction
    over the peak, None not known.
    """

    first: str
    second: str
    text: str
    links: int = 1
    share: float | None = None


@dataclass(frozen=True)
class LinkMap:
    """One host."""

    host: str
    knots: list[Knot]
    edges: list[Edge]


def link_maps(trace: Trace) -> list[LinkMap]:
    """One for each host of which devices were read."""
    uses = trace.fact(all_devices)
    return [
        _of_host(manifest, [one for one in uses if one.host == manifest.host], trace.fact(link_use))
        for manifest in trace.manifests
        if any(one.host == manifest.host for one in uses)
    ]


def _of_host(manifest: Manifest, uses: list[DeviceUse], full: list[LinkUse]) -> LinkMap:
    whole = [one for one in uses if one.facts.parent < 0]
    knots = [Knot(name_of(one), DEVICE, device_text(one), bool(one.processes)) for one in whole]
    edges = [edge for one in whole for edge in (*_nvlinks(one, whole, full), *_pcie(one, full))]
    if any(edge.second == SWITCH for edge in edges):
        knots.append(Knot(SWITCH, SWITCH, "NVSwitch"))
    nodes = sorted({one.facts.numa_node for one in whole})
    knots += [
        Knot(node_name(node), NODE, f"processor, NUMA node {node}" if node >= 0 else "processor")
        for node in nodes
    ]
    for port in manifest.ports:
        if port.kind not in ("loopback", "virtual"):
            share = port_share(manifest.host, port, full)
            knots.append(Knot(port.port, PORT, port_text(port) + filled(share)))
            near = "shares its PCIe switch or NUMA node"
            edges += [Edge(f"GPU {device}", port.port, near, 1, share) for device in port.near]
    return LinkMap(manifest.host, knots, edges)


def name_of(use: DeviceUse) -> str:
    return f"GPU {use.device}"


def node_name(node: int) -> str:
    return f"node {node}"


def device_text(use: DeviceUse) -> str:
    """Its name and who works on it."""
    ranks = ", ".join(f"rank {rank}" for rank in use.ranks)
    return f"{use.facts.name}{', ' + ranks if ranks else ''}"


def port_text(port: PortFacts) -> str:
    rate = (
        f", {digits(port.bytes_per_s / 1e9)} GB/s in each direction" if port.bytes_per_s > 0 else ""
    )
    return f"{port.kind}{rate}{', ' + port.state if port.state else ''}"


def _nvlinks(use: DeviceUse, whole: list[DeviceUse], full: list[LinkUse]) -> list[Edge]:
    """Its links: to the switches, or to each other device once."""
    names = {one.facts.bus_id: name_of(one) for one in whole if one.facts.bus_id}
    counted = Counter(
        SWITCH if link.peer == SWITCH else names.get(link.peer_bus_id or "", "")
        for link in use.facts.links
    )
    found = []
    for other, links in counted.items():
        if other and (other == SWITCH or name_of(use) < other):
            share = share_of(use, "nvlink", full)
            rate = next(
                (link.bytes_per_s for link in use.facts.links if link.bytes_per_s > 0), -1.0
            )
            each = f" of {digits(rate / 1e9)} GB/s raw" if rate > 0 else ""
            text = f"{plural(links, 'NVLink')}{each}{filled(share)}"
            found.append(Edge(name_of(use), other, text, links, share))
    return found


def _pcie(use: DeviceUse, full: list[LinkUse]) -> list[Edge]:
    """Its way to the processor."""
    facts, share = use.facts, share_of(use, "pcie", full)
    link = (
        pcie_name(facts.pcie_generation, facts.pcie_width) if facts.pcie_generation > 0 else "PCIe"
    )
    return [
        Edge(name_of(use), node_name(facts.numa_node), f"{link} at most{filled(share)}", 1, share)
    ]


def share_of(use: DeviceUse, kind: str, full: list[LinkUse]) -> float | None:
    return next((one.share_of_peak for one in full if one.kind == kind and one.use is use), None)


def port_share(host: str, port: PortFacts, full: list[LinkUse]) -> float | None:
    return next(
        (
            one.share_of_peak
            for one in full
            if (one.kind, one.host, one.name) == ("network", host, f"port {port.port}")
        ),
        None,
    )


def filled(share: float | None) -> str:
    return f", {percent(share)} used on average" if share is not None else ""
