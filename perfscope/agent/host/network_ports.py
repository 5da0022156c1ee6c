"""The network ports of a host: InfiniBand and RoCE ports, and the target's network interfaces.

InfiniBand and RoCE ports are read in /sys. The bytes and errors of interfaces come from
/proc/PID/net/dev, in the target's own network namespace; their speed is read through a socket that
was created in it.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from perfscope.agent.host import proc
from perfscope.traces.device_facts import DeviceFacts, PortFacts

SYS: Final = Path("/sys")
WORD_BYTES: Final = 4
"""InfiniBand counts data in words of four bytes."""
IB_NAMES: Final = {"port_rcv_data": "rx_bytes", "port_xmit_data": "tx_bytes"}
IB_ERRORS: Final = (
    "symbol_error",
    "link_error_recovery",
    "link_downed",
    "port_rcv_errors",
    "port_xmit_discards",
    "local_link_integrity_errors",
    "excessive_buffer_overrun_errors",
    "port_xmit_wait",
)
HW_ERRORS: Final = (
    "out_of_sequence",
    "packet_seq_err",
    "local_ack_timeout_err",
    "rnr_nak_retry_err",
    "roce_slow_restart",
    "rx_icrc_encapsulated",
    "implied_nak_seq_err",
    "np_ecn_marked_roce_packets",
    "rp_cnp_handled",
)
NET_FIELDS: Final = {
    0: "rx_bytes",
    2: "rx_errors",
    3: "rx_dropped",
    8: "tx_bytes",
    10: "tx_errors",
    11: "tx_dropped",
}
"""Position of a number in a line of /proc/PID/net/dev -> name of the counter."""
RATE: Final = re.compile(r"([\d.]+) Gb/sec")
SIOCETHTOOL: Final = 0x8946
ETHTOOL_GSET: Final = 1
SPEED_AT: Final = 12
SPEED_HIGH_AT: Final = 28
"""Bytes before `speed` and `speed_hi` in struct ethtool_cmd (include/uapi/linux/ethtool.h)."""
UNKNOWN_SPEEDS: Final = (0, 0xFFFF, 0xFFFFFFFF)
"""What drivers return in place of an unknown speed."""
CLONE_NEWNET: Final = 0x40000000
ROOT_COMPLEX: Final = 1
"""All devices share the first part of their path, the root complex."""


@dataclass(frozen=True)
class IbPort:
    """A port of an InfiniBand or RoCE adapter; `folder` holds its counters."""

    facts: PortFacts
    folder: Path

    def read(self) -> dict[str, float]:
        """Return the adapter's cumulative counters by name: bytes and numbers of errors."""
        row = {}
        for file, name in IB_NAMES.items():
            value = read_number(self.folder / "counters" / file)
            if value is not None:
                row[name] = value * WORD_BYTES
        for part, names in (("counters", IB_ERRORS), ("hw_counters", HW_ERRORS)):
            for name in names:
                value = read_number(self.folder / part / name)
                if value is not None:
                    row[name] = value
        return row


def find_ib_ports(sys: Path) -> list[IbPort]:
    """Return the active ports of all adapters."""
    found = []
    for folder in sorted(sys.glob("class/infiniband/*/ports/*")):
        state = read_text(folder / "state") or ""
        layer = read_text(folder / "link_layer") or ""
        adapter = folder.parent.parent
        rate = RATE.match(read_text(folder / "rate") or "")
        facts = PortFacts(
            port=f"{adapter.name}/{folder.name}",
            kind="roce" if layer == "Ethernet" else "infiniband",
            bytes_per_s=float(rate[1]) * 1e9 / 8 if rate else -1.0,
            state=state.partition(": ")[2].lower() or None,
            numa_node=device_node(adapter / "device"),
            bus_id=device_address(adapter / "device"),
        )
        if facts.state == "active":
            found.append(IbPort(facts, folder))
    return found


class Interfaces:
    """The interfaces of a process's network namespace."""

    def __init__(self, pid: int, sys: Path) -> None:
        self.file, self.sys = f"/proc/{pid}/net/dev", sys
        self.is_our_network = is_our_network(pid)
        self.socket = open_socket_in_network(pid, is_ours=self.is_our_network)

    def read(self) -> dict[str, dict[str, float]]:
        """Return the bytes and errors of each interface, cumulative."""
        found = {}
        for line in proc.kernel_lines(proc.read(self.file))[2:]:
            name, _, values = line.partition(":")
            fields = values.split()
            if len(fields) > max(NET_FIELDS):
                found[name.strip()] = {key: float(fields[at]) for at, key in NET_FIELDS.items()}
        return found

    def facts(self, name: str) -> PortFacts:
        """Return the facts of an interface.

        /sys shows our own network namespace only; in another one, only the speed can be read.
        """
        folder = self.sys / "class" / "net" / name
        is_card = self.is_our_network and (folder / "device").exists()
        kind = "ethernet" if is_card else "virtual"
        return PortFacts(
            port=name,
            kind="loopback" if name == "lo" else kind,
            bytes_per_s=self.speed(name),
            state=read_text(folder / "operstate") if self.is_our_network else None,
            numa_node=device_node(folder / "device") if is_card else -1,
            bus_id=device_address(folder / "device") if is_card else None,
        )

    def speed(self, name: str) -> float:
        """Return the bytes per second in each direction, from the driver; -1 if unknown."""
        if self.socket is None:
            return -1.0
        command = array.array("B", struct.pack("I40x", ETHTOOL_GSET))
        request = struct.pack("16sP", name.encode()[:15], command.buffer_info()[0])
        try:
            fcntl.ioctl(self.socket.fileno(), SIOCETHTOOL, request)
        except OSError:
            return -1.0
        (low,) = struct.unpack_from("H", command, SPEED_AT)
        (high,) = struct.unpack_from("H", command, SPEED_HIGH_AT)
        megabits = high << 16 | low
        return -1.0 if megabits in UNKNOWN_SPEEDS else megabits * 1e6 / 8

    def close(self) -> None:
        """Close the socket."""
        if self.socket is not None:
            self.socket.close()


def is_our_network(pid: int) -> bool:
    """Return whether a process is in our own network namespace."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def open_socket_in_network(pid: int, *, is_ours: bool) -> socket.socket | None:
    """Return a socket in the network namespace of a process; None where we may not enter it."""
    if is_ours:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened: list[socket.socket] = []

    def open_socket() -> None:
        # A single thread can enter another network; a socket stays in that of its creation.
        with contextlib.suppress(OSError), open(f"/proc/{pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) == 0:
                opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    thread = threading.Thread(target=open_socket)
    thread.start()
    thread.join()
    return opened[0] if opened else None


def near_devices(port: PortFacts, devices: list[DeviceFacts], sys: Path) -> list[int]:
    """Return the accelerators below the same PCIe switch or bridge as a port.

    Where there are none, return those at its NUMA node.
    """
    port_path = bridges_above(port.bus_id, sys)
    whole_devices = [device for device in devices if device.parent < 0]
    shared: dict[int, int] = {}
    for device in whole_devices:
        shared[device.device] = common_length(port_path, bridges_above(device.bus_id, sys))
    most = max(shared.values(), default=0)
    if most > ROOT_COMPLEX:
        return [device for device, count in shared.items() if count == most]
    if port.numa_node < 0:
        return []
    return [device.device for device in whole_devices if device.numa_node == port.numa_node]


def bridges_above(bus_id: str | None, sys: Path) -> list[str]:
    """Return the root complex and the bridges above a PCI device; none where that is unknown."""
    link = sys / "bus" / "pci" / "devices" / (bus_id or "none")
    if not link.exists():
        return []
    parts = list(link.resolve().parts)
    while parts and not parts[0].startswith("pci"):
        parts.pop(0)
    return parts[:-1]


def common_length(first: list[str], second: list[str]) -> int:
    """Return how many leading parts two paths share."""
    count = 0
    for part, other_part in zip(first, second, strict=False):
        if part != other_part:
            break
        count += 1
    return count


def device_address(device: Path) -> str | None:
    """Return the PCI address that a `device` link points to."""
    try:
        return device.resolve(strict=True).name
    except OSError:
        return None


def device_node(device: Path) -> int:
    """Return the NUMA node that a `device` link points to, -1 if unknown."""
    value = read_number(device / "numa_node")
    return -1 if value is None else int(value)


def read_text(file: Path) -> str | None:
    """Return the text of a file, None if it cannot be read."""
    try:
        return file.read_text().strip()
    except OSError:
        return None


def read_number(file: Path) -> float | None:
    """Return the number in a file, None if it cannot be read."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None
