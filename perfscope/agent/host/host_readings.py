"""Counters of the whole host, and of the control groups of the target."""

import os

from perfscope.agent.host import cgroup, proc
from perfscope.agent.host.process_readings import TICK_NS, Row, open_for_reading, read_at_start

LARGEST = 1 << 16


class HostReadings:
    """Open files of the host's counters; the network and the control groups are those of `pid`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stat = open_for_reading("/proc/stat")
        self.meminfo = open_for_reading("/proc/meminfo")
        self.net = open_for_reading(f"/proc/{pid}/net/dev")
        self.cgroup_text = ""
        self.cpu: cgroup.ControlGroup | None = None
        self.memory: cgroup.ControlGroup | None = None

    def read(self) -> Row:
        """Return all counters, cumulative since boot and over all cores.

        Only usable_memory_bytes and host_cpu_count are current values.
        """
        return self.cores() | self.usable_memory() | self.network() | self.throttling()

    def cores(self) -> Row:
        """Return the CPU time of all cores: busy, of that in the kernel, idle, and idle while I/O
        was pending (iowait); and the number of cores.
        """
        words = read_at_start(self.stat, 512).split()
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
        """Return the memory that the job can still get, from the kernel and its control groups."""
        self.find_groups()
        for line in proc.kernel_lines(read_at_start(self.meminfo, 512)):
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
                left = cgroup.memory_left_bytes(self.memory) if self.memory else None
                return {"usable_memory_bytes": available if left is None else min(available, left)}
        return {}

    def network(self) -> Row:
        """Return the bytes received and sent by network cards.

        Where no card is visible, as in a container, all interfaces but the loopback count.
        """
        counted: dict[str, tuple[int, int]] = {}
        for line in proc.kernel_lines(read_at_start(self.net, LARGEST))[2:]:
            name, _, values = line.partition(":")
            fields = values.split()
            if name.strip() != "lo" and len(fields) > 8:
                counted[name.strip()] = int(fields[0]), int(fields[8])
        # A bond or bridge counts the bytes of its cards once more.
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

    def throttling(self) -> Row:
        """Return how often and for how long a CPU quota throttled the target's control groups."""
        self.find_groups()
        found = cgroup.group_throttling(self.cpu) if self.cpu else None
        if found is None:
            return {}
        times, nanoseconds = found
        return {"nr_throttled": times, "throttled_ns": nanoseconds}

    def find_groups(self) -> None:
        """Find the control groups of the target; again when it has been moved to others."""
        text = proc.read(f"/proc/{self.pid}/cgroup")
        if text is not None and text != self.cgroup_text:
            self.cgroup_text = text
            self.cpu = cgroup.find_group(self.pid, "cpu")
            self.memory = cgroup.find_group(self.pid, "memory")

    def close(self) -> None:
        """Close the files."""
        for file in (self.stat, self.meminfo, self.net):
            if file >= 0:
                os.close(file)
