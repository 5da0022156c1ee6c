"""Bytes and errors of the host's network ports, once per second.

They are written to the stream "network.counters"; the manifest gets the ports, and which device
each of them is near.
"""

from pathlib import Path

from perfscope.agent.collector import Collector, Job
from perfscope.agent.host.network_ports import SYS, Interfaces, find_ib_ports, near_devices
from perfscope.agent.overhead.sampling_pace import SamplingPace
from perfscope.errors import CollectorUnavailable
from perfscope.traces.device_facts import PortFacts
from perfscope.traces.run_folder.manifest import SourceStatus

MOST_SHARE = 0.002
"""Share of a core."""


class Network(Collector):
    """Reads all ports, including interfaces that appear during the recording."""

    NAME = "network"
    PERIOD_NS = 1_000_000_000

    def __init__(self, sys: Path = SYS) -> None:
        self.sys = sys

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel shows no port at all."""
        self.job = job
        self.adapters = find_ib_ports(self.sys)
        self.interfaces = Interfaces(job.root_pid, self.sys)
        self.ports: dict[str, PortFacts] = {
            adapter.facts.port: adapter.facts for adapter in self.adapters
        }
        self.pace = SamplingPace(self.PERIOD_NS, MOST_SHARE)
        if not self.adapters and not self.interfaces.read():
            self.interfaces.close()
            raise CollectorUnavailable("the kernel shows no network port")
        self.stream = job.run.jsonl("network.counters", -1)

    def poll(self, now_ns: int) -> int:
        started_ns = self.pace.start()
        for adapter in self.adapters:
            self.stream.append({"ts": now_ns, "port": adapter.facts.port, **adapter.read()})
        for name, row in self.interfaces.read().items():
            if name not in self.ports:
                self.ports[name] = self.interfaces.facts(name)
            self.stream.append({"ts": now_ns, "port": name, **row})
        return now_ns + self.pace.end(started_ns)

    def stop(self) -> SourceStatus:
        """Write the ports to the manifest, which has the devices by now."""
        self.interfaces.close()
        manifest = self.job.run.manifest
        for port in self.ports.values():
            port.near = near_devices(port, manifest.devices, self.sys)
        manifest.ports = list(self.ports.values())
        slowdown = self.pace.slowdown
        status = "partial" if slowdown else "ok"
        return SourceStatus(self.NAME, status, slowdown, self.pace.share)
