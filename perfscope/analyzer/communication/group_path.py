"""The links between the members of a process group, and what they can carry together."""

import re
from dataclasses import dataclass

from perfscope.analyzer.hardware.link_products import PCIE, LinkPeak, link_peak
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

DEVICE_LINKS, NETWORK, UNKNOWN = "device-links", "network", "unknown"
MEMBERS = re.compile(r"\[(\d{1,18}(?:, ?\d{1,18})*)\]$")
# Boards of four A100 or H100 have no switches: each device has a third of its links to each of the
# others.
FEWEST_ON_SWITCH = 8


@dataclass(frozen=True)
class GroupPath:
    """The links between the members of one group.

    `kind`: DEVICE_LINKS, NETWORK or UNKNOWN. `peak_bytes_per_s`: one device's, in each direction;
    NaN unknown. `source`: where the peak is from; `why`: why the kind or the peak is unknown, or
    what was assumed. `at_most`: the peak is that of all links, and fewer may connect these members.
    `reduces`: switches may reduce.
    """

    kind: str
    technology: str = ""
    device: str = ""
    peak_bytes_per_s: float = float("nan")
    source: str = ""
    why: str = ""
    at_most: bool = False
    reduces: bool = False


def group_path(trace: Trace, group: str, size: int) -> GroupPath:
    """Return the path of a group as `collectives` names it (`name [ranks]`), of `size` ranks."""
    if size == 1:
        return GroupPath(UNKNOWN, why="its group has one rank: nothing crosses a link")
    names = trace.fact(accelerator_names)
    if not names:
        return GroupPath(UNKNOWN, why="the trace does not name its devices")
    hosts, how = hosts_of_group(trace, members_of_group(group), size, len(names))
    if hosts is None:
        return GroupPath(UNKNOWN, why=how)
    if hosts > 1:
        return GroupPath(
            NETWORK, "network", why=f"{how}; what its network can carry is not in the trace"
        )
    if len(set(names)) > 1:
        return GroupPath(
            UNKNOWN, why=f"devices of different kinds: {', '.join(sorted(set(names)))}"
        )
    found = link_peak(names[0])
    if found is None:
        return GroupPath(
            UNKNOWN,
            device=names[0],
            why=f"the links of {names[0]} are not in perfscope's list of peaks",
        )
    return path_on_host(found, names[0], size, len(names), how)


def path_on_host(found: LinkPeak, device: str, size: int, devices: int, how: str) -> GroupPath:
    """Return the links between `size` of the `devices` on one host."""
    if found.technology == PCIE:
        return GroupPath(
            UNKNOWN,
            PCIE,
            device,
            why=f"{device} has no links to other devices: its peers are reached over PCIe",
        )
    if found.shape == "bridge" and size > 2:
        return GroupPath(
            UNKNOWN,
            PCIE,
            device,
            why=f"a bridge joins two {device}; {size} are reached over PCIe too",
        )
    links = min(size - 1, found.links) if found.shape == "mesh" else found.links
    is_certain = found.shape == "mesh" or (found.shape == "switch" and devices >= FEWEST_ON_SWITCH)
    of = f"{links} links of {found.gb_per_s:g} GB/s"
    return GroupPath(
        DEVICE_LINKS,
        found.technology,
        device,
        links * found.gb_per_s * 1e9,
        f"{of}; {found.source}",
        how,
        at_most=not is_certain,
        reduces=found.reduces,
    )


def accelerator_names(trace: Trace) -> list[str]:
    """Return the names of all accelerators on the host, used or not."""
    reported = [
        device.name
        for manifest in trace.manifests[:1]
        for device in manifest.devices
        if device.name and device.parent < 0
    ]
    if reported:
        return reported
    frame = table(trace, "devices")
    known = [] if frame is None else [str(name) for name in frame["name"].dropna()]
    return known if frame is not None and len(known) == len(frame) else []


def members_of_group(group: str) -> list[int]:
    """Return the ranks of a group that its name lists, empty where it lists none."""
    found = MEMBERS.search(group)
    return [int(rank) for rank in found[1].split(",")] if found else []


def hosts_of_group(
    trace: Trace, members: list[int], size: int, devices: int
) -> tuple[int | None, str]:
    """Return how many hosts the group spans (None unknown), and how that is known or why not."""
    if members:
        known = trace.fact(hosts_by_rank)
        hosts = [known.get(rank, "") for rank in members]
        if all(hosts):
            return len(set(hosts)), f"its ranks are on {', '.join(sorted(set(hosts)))}"
    if devices < 2:
        return None, "it is not recorded on which hosts its ranks run"
    if len(members) != size:
        return (
            (-(-size // devices), f"{size} ranks, {devices} devices a host")
            if size > devices
            else (None, "its ranks are not recorded")
        )
    blocks = len({rank // devices for rank in members})
    return blocks, f"assuming that ranks are numbered host by host, {devices} devices each"


def hosts_by_rank(trace: Trace) -> dict[int, str]:
    """Return the host of each rank, "" where it is unknown."""
    processes = table(trace, "processes")
    if processes is None:
        return {}
    return {
        int(rank): str(host or "")
        for rank, host in zip(processes["rank"], processes["host"], strict=True)
    }
