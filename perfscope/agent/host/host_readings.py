"""What the kernel counts for the whole host, and for the control groups of the target."""

import os

from perfscope.agent.host import cgroup, proc
from perfscope.agent.host.process_readings import TICK_NS, Row, opened, pread

LARGEST = 1 << 16


class HostReadings:
    """`pid` names the target: its network namespace and control groups count."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stat = opened("/proc/stat")
        self.meminfo = opened("/proc/meminfo")
        self.net = opened(f"/proc/{pid}/net/dev")
        self.cgroup_text = ""
        self.cpu: cgroup.Group | None = None
        self.memory: cgroup.Group | None = None

    def read(self) -> Row:
        """All of it; cumulative over cores and since boot, but usable_memory_bytes,
        host_cpu_count.
        """
        return self.cores() | self.usable_memory() | self.network() | self.held_back()

    def cores(self) -> Row:
        """host_cpu_busy_ns, host_cpu_kernel_ns of it, host_cpu_idle_ns, iowait_ns (idle with I/O
        under way), host_cpu_count.
        """
        words = pread(self.stat, 512).split()
        if len(words) < 9 or words[0] != "cpu":
            return {}
        user, nice, system, idle, iowait, irq, soft, steal = (
            int(word) * TICK_NS for word in words[1:9]
        )
        busy = user + nice + system + irq + soft + steal
        count = os.sysconf("SC_NPROCESSORS_ONLN")
        return {
            "host_cpu_busy_ns": busy,
            "host_cpu_kernel_ns": system + irq + soft,
            "iowait_ns": iowait,
            "host_cpu_idle_ns": idle,
            "host_cpu_count": count,
        }

    def usable_memory(self) -> Row:
        """What the job can still get: the kernel's estimate, or less by its control groups."""
        self.find_groups()
        for line in pread(self.meminfo, 512).splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
                left = cgroup.memory_left_bytes(self.memory) if self.memory else None
                return {"usable_memory_bytes": available if left is None else min(available, left)}
        return {}

    def network(self) -> Row:
        """Bytes in and out by network cards; by all but the loopback where none is to be seen (a
        container).
        """
        counted: dict[str, tuple[int, int]] = {}
        for line in pread(self.net, LARGEST).splitlines()[2:]:
            name, _, values = line.partition(":")
            fields = values.split()
            if name.strip() != "lo" and len(fields) > 8:
                counted[name.strip()] = int(fields[0]), int(fields[8])
        # A bond or bridge counts the bytes of its cards again.
        cards = [
            pair
            for name, pair in counted.items()
            if os.path.exists(f"/sys/class/net/{name}/device")
        ]
        pairs = cards or list(counted.values())
        return {
            "net_rx_bytes": sum(pair[0] for pair in pairs),
            "net_tx_bytes": sum(pair[1] for pair in pairs),
        }

    def held_back(self) -> Row:
        """nr_throttled and throttled_ns (summed over cores) of the target's control groups."""
        self.find_groups()
        found = cgroup.throttling(self.cpu) if self.cpu else None
        return {} if found is None else {"nr_throttled": found[0], "throttled_ns": found[1]}

    def find_groups(self) -> None:
        """The target's groups, looked up anew when it has been moved."""
        text = proc.read(f"/proc/{self.pid}/cgroup")
        if text is not None and text != self.cgroup_text:
            self.cgroup_text = text
            self.cpu, self.memory = cgroup.group(self.pid, "cpu"), cgroup.group(self.pid, "memory")

    def close(self) -> None:
        for file in (self.stat, self.meminfo, self.net):
            if file >= 0:
                os.close(file)
