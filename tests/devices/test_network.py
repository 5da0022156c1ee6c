"""Network ports: scripted trees of /sys for adapters that are not here, the real loopback, a veth
pair in network namespaces.
"""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
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
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.trace import Trace
from tests.build import FACTS


def adapter(sys_folder: Path, name: str, bus: str, way: str, **files: str) -> Path:
    """An adapter with one port, as /sys shows it: its device below these bridges; returns the
    port's folder.
    """
    device = sys_folder / "devices" / way / bus
    device.mkdir(parents=True)
    (device / "numa_node").write_text("1\n")
    port = device / "infiniband" / name / "ports" / "1"
    for part in ("counters", "hw_counters"):
        (port / part).mkdir(parents=True)
    said = {
        "state": "4: ACTIVE",
        "link_layer": "InfiniBand",
        "rate": "200 Gb/sec (4X HDR)",
        **files,
    }
    for file, text in said.items():
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
    """A run folder with the collector running, polled once per second of its own clock."""

    def __init__(
        self, folder: Path, sys_folder: Path, devices: tuple[DeviceFacts, ...] = ()
    ) -> None:
        manifest = Manifest(**{**FACTS, "usable_cores": None, "torch": None, "depth": "observe"})
        manifest.devices = list(devices)
        self.run = RunWriter.create(folder, manifest)
        self.collector = Network(sys_folder)
        self.collector.start(Job(self.run, os.getpid()))
        self.now_ns = 1_000_000_000

    def look(self) -> None:
        self.collector.poll(self.now_ns)
        self.now_ns += 1_000_000_000

    def trace(self) -> Trace:
        self.run.manifest.sources = [self.collector.stop()]
        self.run.close()
        return load_trace(self.run.path)


def test_an_infiniband_port_is_held_against_the_rate_that_it_came_up_with(tmp_path: Path) -> None:
    port = adapter(
        tmp_path / "sys", "mlx5_0", "0000:19:00.0", "pci0000:15/0000:15:01.0/0000:16:00.0"
    )
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    for second in range(4):
        (port / "counters" / "port_xmit_data").write_text(
            f"{second * 23_000_000_000 // 4}\n"
        )  # words of four bytes
        (port / "counters" / "port_rcv_data").write_text("0\n")
        (port / "counters" / "link_error_recovery").write_text(f"{3 * second}\n")
        (port / "hw_counters" / "np_ecn_marked_roce_packets").write_text(f"{3000 * second}\n")
        recording.look()
    trace = recording.trace()
    found = next(one for one in trace.fact(link_use) if one.name == "port mlx5_0/1")
    assert (found.peak_bytes_per_s, found.near_share) == (25e9, 1.0)
    assert found.tx_bytes_per_s == pytest.approx(23e9)
    diagnosis = diagnose_trace(trace)
    assert {"network-saturated", "link-errors"} <= {finding.id for finding in diagnosis.findings}
    errors = next(each for each in diagnosis.findings if each.id == "link-errors")
    assert "port mlx5_0/1" in errors.headline and "link_error_recovery" in errors.headline
    assert not any("ecn" in item.text for item in errors.evidence), (
        "congestion that is held in check is no error"
    )


def test_a_quiet_port_is_not_cleared(tmp_path: Path) -> None:
    port = adapter(tmp_path / "sys", "mlx5_0", "0000:19:00.0", "pci0000:15")
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    for _ in range(3):
        for file in ("port_xmit_data", "port_rcv_data"):
            (port / "counters" / file).write_text("1000\n")
        recording.look()
    diagnosis = diagnose_trace(recording.trace())
    assert "network-saturated" not in diagnosis.clear
    assert any(
        one.id == "network-saturated" and "cannot clear it" in one.reason
        for one in diagnosis.not_checked
    )


def test_a_port_that_is_down_is_left_out(tmp_path: Path) -> None:
    adapter(tmp_path / "sys", "mlx5_0", "0000:19:00.0", "pci0000:15", state="1: DOWN")
    recording = Recording(tmp_path / "run", tmp_path / "sys")
    recording.look()
    assert "mlx5_0/1" not in {port.port for port in recording.trace().manifest.ports}


def test_a_port_is_near_the_devices_below_its_bridge_else_at_its_node(tmp_path: Path) -> None:
    tree = tmp_path / "sys"
    bridge = "pci0000:15/0000:15:01.0/0000:16:00.0"
    adapter(tree, "mlx5_0", "0000:19:00.0", f"{bridge}/0000:17:00.0")
    adapter(tree, "mlx5_1", "0000:a9:00.0", "pci0000:a5/0000:a5:01.0", link_layer="Ethernet")
    devices = (
        device(tree, 0, "0000:18:00.0", f"{bridge}/0000:17:01.0"),
        device(tree, 1, "0000:3b:00.0", "pci0000:37/0000:37:01.0"),
    )
    recording = Recording(tmp_path / "run", tree, devices)
    recording.look()
    ports = {port.port: port for port in recording.trace().manifest.ports}
    assert ports["mlx5_0/1"].near == [0]
    assert ports["mlx5_1/1"].near == [0, 1] and ports["mlx5_1/1"].kind == "roce"


def test_the_real_loopback_counts_what_goes_over_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "run", tmp_path)
    recording.look()
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
    recording.look()
    table = recording.trace().table("network_counters")
    assert table is not None
    own = table[(table["port"] == "lo") & (table["name"] == "tx_bytes")]["value"].tolist()
    assert own[-1] - own[0] >= 3_000_000


@pytest.fixture
def two_networks() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a veth pair between them; needs root."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces can be made by root only")
    names = tuple(f"perfscope-{side}-{uuid.uuid4().hex[:6]}" for side in "ab")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        pair = [["netns", names[0], "name", "veth0"], ["netns", names[1], "name", "veth0"]]
        subprocess.run(
            [
                "ip",
                "link",
                "add",
                *pair[0][2:],
                *pair[0][:2],
                "type",
                "veth",
                "peer",
                *pair[1][2:],
                *pair[1][:2],
            ],
            check=True,
        )
        for at, name in enumerate(names):
            subprocess.run(
                ["ip", "-n", name, "addr", "add", f"10.231.7.{at + 1}/24", "dev", "veth0"],
                check=True,
            )
            subprocess.run(["ip", "-n", name, "link", "set", "veth0", "up"], check=True)
        yield names[0], names[1]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


LISTEN = (
    "import socket\ns = socket.create_server(('10.231.7.2', 5000))\nc, _ = s.accept()\nwhile"
    " c.recv(65536): pass\n"
)
SEND = (
    "import socket\nc = socket.create_connection(('10.231.7.2', 5000))\n"
    "c.sendall(bytes(2_000_000))\nc.shutdown(1)\nc.recv(1)\n"
)


def test_a_target_in_a_network_of_its_own_is_read_there(two_networks: tuple[str, str]) -> None:
    one, other = two_networks
    with contextlib.ExitStack() as ending:
        target = subprocess.Popen(["ip", "netns", "exec", one, "sleep", "60"])
        listener = subprocess.Popen(["ip", "netns", "exec", other, sys.executable, "-c", LISTEN])
        for process in (target, listener):
            ending.callback(process.wait)
            ending.callback(process.kill)
        interfaces = waited_for(target.pid)
        ending.callback(interfaces.close)
        before = interfaces.read()["veth0"]["tx_bytes"]
        for _ in range(100):  # until the listener listens
            if (
                subprocess.run(
                    ["ip", "netns", "exec", one, sys.executable, "-c", SEND],
                    stderr=subprocess.DEVNULL,
                ).returncode
                == 0
            ):
                break
        assert interfaces.read()["veth0"]["tx_bytes"] - before >= 2_000_000
        facts = interfaces.facts("veth0")
        assert (facts.kind, facts.bytes_per_s) == (
            "virtual",
            10_000e6 / 8,
        ), "what the kernel says of every veth"


def waited_for(pid: int) -> Interfaces:
    """The interfaces of a process once it is in its network."""
    end = time.monotonic() + 20
    while True:
        interfaces = Interfaces(pid, Path("/sys"))
        if "veth0" in interfaces.read():
            return interfaces
        interfaces.close()
        assert time.monotonic() < end, "the process never came into its network"
        time.sleep(0.02)
