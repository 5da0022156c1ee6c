"""Network ports: adapters in copies of /sys, the real loopback, and a veth pair in network
namespaces.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Network
from perfscope.agent.host.network_ports import Interfaces
from perfscope.analyzer.counters.link_use import link_use
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.load import load_trace
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.trace import Trace
from tests.build import FACTS
from tests.device_counters.diagnoses import find_finding
from tests.target_processes import until


def adapter(sys_folder: Path, name: str, bus: str, way: str, **files: str) -> Path:
    """Write an adapter with one port, as /sys shows it below these bridges; return the folder of
    the port.
    """
    device = sys_folder / "devices" / way / bus
    device.mkdir(parents=True)
    (device / "numa_node").write_text("1\n")
    port = device / "infiniband" / name / "ports" / "1"
    for part in ("counters", "hw_counters"):
        (port / part).mkdir(parents=True)
    contents = {
        "state": "4: ACTIVE",
        "link_layer": "InfiniBand",
        "rate": "200 Gb/sec (4X HDR)",
        **files,
    }
    for file, text in contents.items():
        (port / file).write_text(text + "\n")
    link(sys_folder / "class" / "infiniband" / name, device / "infiniband" / name)
    link(device / "infiniband" / name / "device", device)
    link(sys_folder / "bus" / "pci" / "devices" / bus, device)
    return port


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(os.path.relpath(to, at.parent))


def device(sys_folder: Path, number: int, bus: str, way: str) -> DeviceFacts:
    folder = sys_folder / "devices" / way / bus
    folder.mkdir(parents=True)
    link(sys_folder / "bus" / "pci" / "devices" / bus, folder)
    return DeviceFacts(number, "GPU", bus_id=bus, numa_node=1)


class Recording:
    """A run folder with the collector running; each poll is one second later."""

    def __init__(
        self, folder: Path, sys_folder: Path, devices: tuple[DeviceFacts, ...] = ()
    ) -> None:
        manifest = Manifest(**{**FACTS, "usable_cores": None, "torch": None, "depth": "observe"})
        manifest.devices = list(devices)
        self.run = RunWriter.create(folder, manifest)
        self.collector = Network(sys_folder)
        self.collector.start(Job(self.run, os.getpid()))
        self.now_ns = 1_000_000_000

    def poll(self) -> None:
        self.collector.poll(self.now_ns)
        self.now_ns += 1_000_000_000

    def trace(self) -> Trace:
        self.run.manifest.sources = [self.collector.stop()]
        self.run.close()
        return load_trace(self.run.path)


def test_an_infiniband_port_is_compared_with_its_negotiated_rate(tmp_path: Path) -> None:
    """Marked packets (ECN) are congestion that is under control, not link errors."""
    bridges = "pci0000:15/0000:15:01.0/0000:16:00.0"
    port = adapter(tmp_path / "sys", "mlx5_0", "0000:19:00.0", bridges)
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    for second in range(4):
        words = second * 23_000_000_000 // 4  # the port counts words of four bytes
        (port / "counters" / "port_xmit_data").write_text(f"{words}\n")
        (port / "counters" / "port_rcv_data").write_text("0\n")
        (port / "counters" / "link_error_recovery").write_text(f"{3 * second}\n")
        (port / "hw_counters" / "np_ecn_marked_roce_packets").write_text(f"{3000 * second}\n")
        recording.poll()
    trace = recording.trace()
    found = next(link for link in trace.fact(link_use) if link.name == "port mlx5_0/1")
    assert (found.peak_bytes_per_s, found.near_share) == (25e9, 1.0)
    assert found.tx_bytes_per_s == pytest.approx(23e9)
    diagnosis = diagnose_trace(trace)
    assert {"network-saturated", "link-errors"} <= {finding.id for finding in diagnosis.findings}
    errors = find_finding(diagnosis, "link-errors")
    assert "port mlx5_0/1" in errors.headline and "link_error_recovery" in errors.headline
    assert not any("ecn" in item.text for item in errors.evidence)


def test_a_quiet_port_does_not_clear_network_saturated(tmp_path: Path) -> None:
    port = adapter(tmp_path / "sys", "mlx5_0", "0000:19:00.0", "pci0000:15")
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    for _ in range(3):
        for file in ("port_xmit_data", "port_rcv_data"):
            (port / "counters" / file).write_text("1000\n")
        recording.poll()
    diagnosis = diagnose_trace(recording.trace())
    assert "network-saturated" not in diagnosis.clear
    assert "network-saturated" in {entry.id for entry in diagnosis.not_checked}


def test_a_port_that_is_down_is_left_out(tmp_path: Path) -> None:
    adapter(tmp_path / "sys", "mlx5_0", "0000:19:00.0", "pci0000:15", state="1: DOWN")
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    recording.poll()
    assert "mlx5_0/1" not in {port.port for port in recording.trace().manifest.ports}


def test_a_port_is_near_the_devices_below_its_bridge_or_else_of_its_numa_node(
    tmp_path: Path,
) -> None:
    tree = tmp_path / "sys"
    bridge = "pci0000:15/0000:15:01.0/0000:16:00.0"
    adapter(tree, "mlx5_0", "0000:19:00.0", f"{bridge}/0000:17:00.0")
    adapter(tree, "mlx5_1", "0000:a9:00.0", "pci0000:a5/0000:a5:01.0", link_layer="Ethernet")
    devices = (
        device(tree, 0, "0000:18:00.0", f"{bridge}/0000:17:01.0"),
        device(tree, 1, "0000:3b:00.0", "pci0000:37/0000:37:01.0"),
    )
    recording = Recording(tmp_path / "run", tree, devices)
    recording.poll()
    ports = {port.port: port for port in recording.trace().manifest.ports}
    assert ports["mlx5_0/1"].near == [0]
    assert ports["mlx5_1/1"].near == [0, 1] and ports["mlx5_1/1"].kind == "roce"


def test_the_bytes_that_the_loopback_transfers_are_counted(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "run", tmp_path)
    recording.poll()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as out,
    ):
        into, _ = server.accept()
        with into:
            sender = threading.Thread(target=out.sendall, args=(bytes(3_000_000),))
            sender.start()
            left = 3_000_000
            while left:
                left -= len(into.recv(1 << 16))
            sender.join()
    recording.poll()
    table = recording.trace().table("network_counters")
    assert table is not None
    sent = table[(table["port"] == "lo") & (table["name"] == "tx_bytes")]["value"].tolist()
    assert sent[-1] - sent[0] >= 3_000_000


@pytest.fixture
def two_networks() -> Iterator[tuple[str, str]]:
    """Return the names of two network namespaces that a veth pair joins."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make network namespaces")
    names = tuple(f"perfscope-{side}-{uuid.uuid4().hex[:6]}" for side in "ab")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        first, second = (["name", "veth0", "netns", name] for name in names)
        pair = ["ip", "link", "add", *first, "type", "veth", "peer", *second]
        subprocess.run(pair, check=True)
        for number, name in enumerate(names, start=1):
            address = f"10.231.7.{number}/24"
            on_host = ["ip", "-n", name]
            subprocess.run([*on_host, "addr", "add", address, "dev", "veth0"], check=True)
            subprocess.run([*on_host, "link", "set", "veth0", "up"], check=True)
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


LISTEN = """
import socket
server = socket.create_server(("10.231.7.2", 5000))
connection, _ = server.accept()
while connection.recv(65536):
    pass
"""
SEND = """
import socket
connection = socket.create_connection(("10.231.7.2", 5000))
connection.sendall(bytes(2_000_000))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
"""
VETH_BYTES_PER_S = 10_000e6 / 8
"""The speed that the kernel reports for every veth."""


def test_the_interfaces_of_a_target_in_another_network_namespace_are_read(
    two_networks: tuple[str, str],
) -> None:
    in_first, in_second = (["ip", "netns", "exec", name] for name in two_networks)
    sending = [*in_first, sys.executable, "-c", SEND]
    with contextlib.ExitStack() as ending:
        target = subprocess.Popen([*in_first, "sleep", "60"])
        listener = subprocess.Popen([*in_second, sys.executable, "-c", LISTEN])
        for process in (target, listener):
            ending.callback(process.wait)
            ending.callback(process.kill)
        interfaces = wait_for_interfaces(target.pid)
        ending.callback(interfaces.close)
        before = interfaces.read()["veth0"]["tx_bytes"]
        # The first connections fail if the listener does not listen yet.
        until(lambda: subprocess.run(sending, stderr=subprocess.DEVNULL).returncode == 0)
        assert interfaces.read()["veth0"]["tx_bytes"] - before >= 2_000_000
        facts = interfaces.facts("veth0")
        assert (facts.kind, facts.bytes_per_s) == ("virtual", VETH_BYTES_PER_S)


def wait_for_interfaces(pid: int) -> Interfaces:
    """Return the interfaces of a process as soon as it is in its network namespace."""
    found: list[Interfaces] = []

    def is_there() -> bool:
        interfaces = Interfaces(pid, Path("/sys"))
        found.append(interfaces)
        if "veth0" in interfaces.read():
            return True
        interfaces.close()
        return False

    until(is_there)
    return found[-1]
