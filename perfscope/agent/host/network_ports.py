"""The network ports of a host as the kernel tells of them: InfiniBand and RoCE ports in /sys,
interfaces of the target's network.

An interface's bytes and errors come from /proc/PID/net/dev, which is of the target's own network
namespace; its speed is asked through a socket that was made there.
"""

import array
import contextlib
import ctypes
import fcntl
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perfscope.agent.host import proc
from perfscope.traces.device_facts import DeviceFacts, PortFacts

SYS: Final = Path("/sys")
WORD_BYTES: Final = 4
"""InfiniBand counts data in words of four bytes, over all lanes."""
IB_NAMES: Final = {"port_rcv_data": "rx_bytes", "port_xmit_data": "tx_bytes"}
IB_ERRORS: Final = (
    *(
        "symbol_error",
        "link_error_recovery",
        "link_downed",
        "port_rcv_errors",
        "port_xmit_discards",
    ),
    *("local_link_integrity_errors", "excessive_buffer_overrun_errors", "port_xmit_wait"),
)
HW_ERRORS: Final = (
    *(
        "out_of_sequence",
        "packet_seq_err",
        "local_ack_timeout_err",
        "rnr_nak_retry_err",
        "roce_slow_restart",
    ),
    *(
        "rx_icrc_encapsulated",
        "implied_nak_seq_err",
        "np_ecn_marked_roce_packets",
        "rp_cnp_handled",
    ),
)
NET_FIELDS: Final = {
    0: "rx_bytes",
    2: "rx_errors",
    3: "rx_dropped",
    8: "tx_bytes",
    10: "tx_errors",
    11: "tx_dropped",
}
RATE: Final = re.compile(r"([\d.]+) Gb/sec")
SIOCETHTOOL: Final = 0x8946
ETHTOOL_GSET: Final = 1
UNKNOWN_SPEED: Final = 0xFFFFFFFF
CLONE_NEWNET: Final = 0x40000000


@dataclass(frozen=True)
class IbPort:
    """A port of an InfiniBand or RoCE adapter: where its counters stand."""

    facts: PortFacts
    folder: Path

    def read(self) -> dict[str, float]:
        """Bytes and errors, cumulative; what the adapter does not count is left out."""
        row = {}
        for file, name in IB_NAMES.items():
            value = number(self.folder / "counters" / file)
            if value is not None:
                row[name] = value * WORD_BYTES
        for part, names in (("counters", IB_ERRORS), ("hw_counters", HW_ERRORS)):
            for name in names:
                value = number(self.folder / part / name)
                if value is not None:
                    row[name] = value
        return row


def ib_ports(sys: Path) -> list[IbPort]:
    """Every port of every adapter that is up."""
    found = []
    for folder in sorted(sys.glob("class/infiniband/*/ports/*")):
        state, layer = text(folder / "state") or "", text(folder / "link_layer") or ""
        adapter = folder.parent.parent
        rate = RATE.match(text(folder / "rate") or "")
        facts = PortFacts(
            port=f"{adapter.name}/{folder.name}",
            kind="roce" if layer == "Ethernet" else "infiniband",
            bytes_per_s=float(rate[1]) * 1e9 / 8 if rate else -1.0,
            state=state.partition(": ")[2].lower() or None,
            numa_node=node_of(adapter / "device"),
            bus_id=bus_of(adapter / "device"),
        )
        if facts.state == "active":
            found.append(IbPort(facts, folder))
    return found


class Interfaces:
    """The interfaces of a process's network namespace."""

    def __init__(self, pid: int, sys: Path) -> None:
        self.file, self.sys = f"/proc/{pid}/net/dev", sys
        self.same = same_network(pid)
        self.socket = socket_in_network_of(pid, same=self.same)

    def read(self) -> dict[str, dict[str, float]]:
        """Name -> bytes and errors, cumulative."""
        found = {}
        for line in (proc.read(self.file) or "").splitlines()[2:]:
            name, _, values = line.partition(":")
            fields = values.split()
            if len(fields) > max(NET_FIELDS):
                found[name.strip()] = {key: float(fields[at]) for at, key in NET_FIELDS.items()}
        return found

    def facts(self, name: str) -> PortFacts:
        """What is known of one interface. What /sys shows is of our own network: of another only
        the speed is told.
        """
        folder = self.sys / "class" / "net" / name
        card = self.same and (folder / "device").exists()
        kind = "loopback" if name == "lo" else "ethernet" if card else "virtual"
        return PortFacts(
            port=name,
            kind=kind,
            bytes_per_s=self.speed(name),
            state=text(folder / "operstate") if self.same else None,
            numa_node=node_of(folder / "device") if card else -1,
            bus_id=bus_of(folder / "device") if card else None,
        )

    def speed(self, name: str) -> float:
        """Bytes a second in each direction, as the driver of the interface says; -1 unknown."""
        if self.socket is None:
            return -1.0
        command = array.array("B", struct.pack("I40x", ETHTOOL_GSET))
        request = struct.pack("16sP", name.encode()[:15], command.buffer_info()[0])
        try:
            fcntl.ioctl(self.socket.fileno(), SIOCETHTOOL, request)
        except OSError:
            return -1.0
        low, high = struct.unpack_from("H", command, 12)[0], struct.unpack_from("H", command, 28)[0]
        megabits = high << 16 | low
        return -1.0 if megabits in (0, 0xFFFF, UNKNOWN_SPEED) else megabits * 1e6 / 8

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()


def same_network(pid: int) -> bool:
    """Is the process in our own network namespace?"""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def socket_in_network_of(pid: int, *, same: bool) -> socket.socket | None:
    """A socket in the process's network namespace; None where we may not enter it."""
    if same:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made: list[socket.socket] = []

    def enter() -> None:
        # A thread may enter another network alone; a socket stays where it was made.
        with contextlib.suppress(OSError), open(f"/proc/{pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) == 0:
                made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0] if made else None


def neighbours(port: PortFacts, devices: list[DeviceFacts], sys: Path) -> list[int]:
    """Accelerators below the same PCIe switch or bridge as a port; where there are none, those at
    its NUMA node.
    """
    own = path_of(port.bus_id, sys)
    whole = [one for one in devices if one.parent < 0]
    shared = {one.device: common(own, path_of(one.bus_id, sys)) for one in whole}
    most = max(shared.values(), default=0)
    if most > 1:  # more than the root complex
        return [device for device, count in shared.items() if count == most]
    return [one.device for one in whole if port.numa_node >= 0 and one.numa_node == port.numa_node]


def path_of(bus_id: str | None, sys: Path) -> list[str]:
    """The bridges from the root complex down to a PCI device, itself left out; empty where the
    kernel does not show it.
    """
    link = sys / "bus" / "pci" / "devices" / (bus_id or "none")
    if not link.exists():
        return []
    parts = list(link.resolve().parts)
    first = next((at for at, part in enumerate(parts) if part.startswith("pci")), len(parts))
    return parts[first:-1]


def common(first: list[str], second: list[str]) -> int:
    """How many steps from the root two ways share."""
    return next(
        (at for at, (one, other) in enumerate(pairs(first, second)) if one != other),
        min(len(first), len(second)),
    )


def pairs(first: list[str], second: list[str]) -> Iterator[tuple[str, str]]:
    return zip(first, second, strict=False)


def bus_of(device: Path) -> str | None:
    """PCI address of what a `device` link points to."""
    try:
        return device.resolve(strict=True).name
    except OSError:
        return None


def node_of(device: Path) -> int:
    value = number(device / "numa_node")
    return -1 if value is None else int(value)


def text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None


def number(file: Path) -> float | None:
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None
