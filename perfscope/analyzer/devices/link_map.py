"""The topology of each host: how devices, switches, processors and network ports are connected, and
how full each link in use was.
"""

from collections import Counter
from dataclasses import dataclass

from perfscope.analyzer.counters.link_use import LinkUse, link_use
from perfscope.analyzer.hardware.link_generations import pcie_name
from perfscope.analyzer.number_text import digits, percent, plural
from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices
from perfscope.traces.device_facts import PortFacts
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.trace import Trace

DEVICE, SWITCH, NODE, PORT = "device", "switch", "node", "port"


@dataclass(frozen=True)
class LinkEndpoint:
    """A device, switch, processor or port; `used`: the job works on it."""

    name: str
    kind: str
    text: str
    used: bool = False


@dataclass(frozen=True)
class Edge:
    """A link, or several parallel ones, between two endpoints.

    `share`: mean of the fuller direction over the peak, None unknown.
    """

    first: str
    second: str
    text: str
    links: int = 1
    share: float | None = None


@dataclass(frozen=True)
class LinkMap:
    """The topology of one host: its endpoints and the links between them."""

    host: str
    endpoints: list[LinkEndpoint]
    edges: list[Edge]


def link_maps(trace: Trace) -> list[LinkMap]:
    """Return the topology of each host whose devices were read."""
    uses = trace.fact(all_devices)
    return [
        map_of_host(manifest, uses_of_host, trace.fact(link_use))
        for manifest in trace.manifests
        if (uses_of_host := [use for use in uses if use.host == manifest.host])
    ]


def map_of_host(manifest: Manifest, uses: list[DeviceUse], link_uses: list[LinkUse]) -> LinkMap:
    """Return the topology of one host."""
    whole = [use for use in uses if use.facts.parent < 0]
    endpoints = [
        LinkEndpoint(gpu_name(use), DEVICE, device_text(use), bool(use.processes)) for use in whole
    ]
    edges = [
        edge
        for use in whole
        for edge in (*nvlink_edges(use, whole, link_uses), *pcie_edges(use, link_uses))
    ]
    if any(edge.second == SWITCH for edge in edges):
        endpoints.append(LinkEndpoint(SWITCH, SWITCH, "NVSwitch"))
    nodes = sorted({use.facts.numa_node for use in whole})
    endpoints += [
        LinkEndpoint(
            node_name(node), NODE, f"processor, NUMA node {node}" if node >= 0 else "processor"
        )
        for node in nodes
    ]
    for port in manifest.ports:
        if port.kind not in ("loopback", "virtual"):
            share = port_share(manifest.host, port, link_uses)
            endpoints.append(LinkEndpoint(port.port, PORT, port_text(port) + use_text(share)))
            near = "shares its PCIe switch or NUMA node"
            edges += [Edge(f"GPU {device}", port.port, near, 1, share) for device in port.near]
    return LinkMap(manifest.host, endpoints, edges)


def gpu_name(use: DeviceUse) -> str:
    """Return `GPU 3`."""
    return f"GPU {use.device}"


def node_name(node: int) -> str:
    """Return `node 0`."""
    return f"node {node}"


def device_text(use: DeviceUse) -> str:
    """Return the name of a device and the ranks on it."""
    ranks = ", ".join(f"rank {rank}" for rank in use.ranks)
    return f"{use.facts.name}{', ' + ranks if ranks else ''}"


def port_text(port: PortFacts) -> str:
    """Return the kind, rate and state of a port."""
    rate = (
        f", {digits(port.bytes_per_s / 1e9)} GB/s in each direction" if port.bytes_per_s > 0 else ""
    )
    return f"{port.kind}{rate}{', ' + port.state if port.state else ''}"


def nvlink_edges(use: DeviceUse, whole: list[DeviceUse], link_uses: list[LinkUse]) -> list[Edge]:
    """Return the NVLinks of a device: to the switches, or to each other device once."""
    names = {other.facts.bus_id: gpu_name(other) for other in whole if other.facts.bus_id}
    counted = Counter(
        SWITCH if link.peer == SWITCH else names.get(link.peer_bus_id or "", "")
        for link in use.facts.links
    )
    found = []
    for other, links in counted.items():
        if other and (other == SWITCH or gpu_name(use) < other):
            share = link_share(use, "nvlink", link_uses)
            rate = next(
                (link.bytes_per_s for link in use.facts.links if link.bytes_per_s > 0), -1.0
            )
            each = f" of {digits(rate / 1e9)} GB/s raw" if rate > 0 else ""
            text = f"{plural(links, 'NVLink')}{each}{use_text(share)}"
            found.append(Edge(gpu_name(use), other, text, links, share))
    return found


def pcie_edges(use: DeviceUse, link_uses: list[LinkUse]) -> list[Edge]:
    """Return the link of a device to its processor."""
    facts, share = use.facts, link_share(use, "pcie", link_uses)
    link = (
        pcie_name(facts.pcie_generation, facts.pcie_width) if facts.pcie_generation > 0 else "PCIe"
    )
    return [
        Edge(
            gpu_name(use), node_name(facts.numa_node), f"{link} at most{use_text(share)}", 1, share
        )
    ]


def link_share(use: DeviceUse, kind: str, link_uses: list[LinkUse]) -> float | None:
    """Return the mean share of the peak of a device's links of a kind, None unknown."""
    shares = (link.share_of_peak for link in link_uses if link.kind == kind and link.use is use)
    return next(shares, None)


def port_share(host: str, port: PortFacts, link_uses: list[LinkUse]) -> float | None:
    """Return the mean share of the peak of a port, None unknown."""
    key = ("network", host, f"port {port.port}")
    shares = (link.share_of_peak for link in link_uses if (link.kind, link.host, link.name) == key)
    return next(shares, None)


def use_text(share: float | None) -> str:
    """Return the mean use of a link as the end of a text, "" unknown."""
    return f", {percent(share)} used on average" if share is not None else ""
