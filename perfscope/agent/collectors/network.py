"""Bytes and errors of the host's network ports once a second: stream "network.counters"; which port
is near which device.
"""

from pathlib import Path

from perfscope.agent.collector import Collector, Job
from perfscope.agent.host.network_ports import SYS, Interfaces, ib_ports, neighbours
from perfscope.agent.pace import Pace
from perfscope.errors import CollectorUnavailable
from perfscope.traces.device_facts import PortFacts
from perfscope.traces.run.manifest import SourceStatus

MOST_SHARE = 0.002


class Network(Collector):
    """The collector. Ports that come later are taken in, those that go keep what was read."""

    NAME = "network"
    PERIOD_NS = 1_000_000_000

    def __init__(self, sys: Path = SYS) -> None:
        self.sys = sys

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel shows no port at all."""
        self.job = job
        self.adapters = ib_ports(self.sys)
        self.interfaces = Interfaces(job.root_pid, self.sys)
        self.facts: dict[str, PortFacts] = {one.facts.port: one.facts for one in self.adapters}
        self.pace = Pace(self.PERIOD_NS, MOST_SHARE)
        if not self.adapters and not self.interfaces.read():
            self.interfaces.close()
            raise CollectorUnavailable("the kernel shows no network port")
        self.stream = job.run.jsonl("network.counters", -1)

    def poll(self, now_ns: int) -> int:
        started = self.pace.start()
        for adapter in self.adapters:
            self.stream.append({"ts": now_ns, "port": adapter.facts.port, **adapter.read()})
        for name, row in self.interfaces.read().items():
            if name not in self.facts:
                self.facts[name] = self.interfaces.facts(name)
            self.stream.append({"ts": now_ns, "port": name, **row})
        return now_ns + self.pace.end(started)

    def stop(self) -> SourceStatus:
        """Say which ports there were; by now the devices are known too."""
        self.interfaces.close()
        manifest = self.job.run.manifest
        for one in self.facts.values():
            one.near = neighbours(one, manifest.devices, self.sys)
        manifest.ports = list(self.facts.values())
        return SourceStatus(
            self.NAME, "partial" if self.pace.slowed else "ok", self.pace.slowed, self.pace.share
        )
