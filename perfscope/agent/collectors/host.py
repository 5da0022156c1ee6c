"""What the kernel counts for every process of the job, and for the whole host: CPU, run-queue delay, memory, I/O, throttling.

CPU time is the scheduler's exact sum as /proc/PID/stat shows it, in steps of a clock tick (10 ms), which a recording of
seconds does not mind. Run-queue delay is exact (schedstat, ns): the main thread's at every reading, all threads' once a second.
"""

import os
import time

from perfscope.agent import cgroup, proc
from perfscope.agent.collector import Job, TargetProcess
from perfscope.traces.manifest import SourceStatus

PERIOD_NS = 200_000_000
SLOW_PERIOD_NS = 1_000_000_000
MOST_SHARE = 0.01
MOST_THREADS = 256
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Readings:
    """One process's files under /proc, kept open."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.stream = job.run.jsonl("host.counters", target.process)
        self.files = {
            name: opened(f"/proc/{target.pid}/{name}") for name in ("stat", "io", f"task/{target.pid}/schedstat")
        }

    def read(self, name: str) -> str:
        file = self.files[name]
        try:
            return os.pread(file, 1024, 0).decode("ascii", "replace") if file >= 0 else ""
        except OSError:
            return ""

    def quick(self, now_ns: int) -> None:
        """CPU, memory and the main thread's run-queue delay."""
        text = self.read("stat")
        if not text:
            return
        fields = text[text.rindex(")") + 2 :].split()
        row = {
            "cpu_ns": (int(fields[11]) + int(fields[12])) * TICK_NS,
            "rss_bytes": int(fields[21]) * PAGE_BYTES,
            "major_faults": int(fields[9]),
            "threads": int(fields[17]),
        }
        self.stream.append({"ts": now_ns, "tid": -1, **row})
        delay = self.read(f"task/{self.target.pid}/schedstat").split()
        if len(delay) > 1:
            self.stream.append({"ts": now_ns, "tid": self.target.ns_pid, "run_delay_ns": int(delay[1])})

    def slow(self, now_ns: int) -> None:
        """I/O, and the run-queue delay of all threads."""
        row: dict[str, int] = {}
        for line in self.read("io").splitlines():
            name, _, value = line.partition(": ")
            if name in ("rchar", "read_bytes", "write_bytes"):
                row[name] = int(value)
        row["run_delay_ns"] = self.delay_of_all()
        held = cgroup.throttled(self.target.pid)
        if held is not None:
            row["nr_throttled"], row["throttled_ns"] = held
        self.stream.append({"ts": now_ns, "tid": -1, **row})

    def delay_of_all(self) -> int:
        folder, total = f"/proc/{self.target.pid}/task", 0
        try:
            threads = os.listdir(folder)[:MOST_THREADS]
        except OSError:
            return 0
        for tid in threads:
            fields = (proc.read(f"{folder}/{tid}/schedstat") or "").split()
            total += int(fields[1]) if len(fields) > 1 else 0
        return total

    def close(self) -> None:
        for file in self.files.values():
            if file >= 0:
                os.close(file)


def opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


class Host:
    """The collector; slows down by itself when it costs more than its share of a core."""

    NAME = "host"

    def start(self, job: Job) -> None:
        self.job = job
        self.stream = job.run.jsonl("host.counters", -1)
        self.known: dict[int, Readings] = {}
        self.period_ns = PERIOD_NS
        self.next_slow_ns = 0
        self.began_ns = time.monotonic_ns()
        self.busy_ns = 0

    def poll(self, now_ns: int) -> int:
        began = time.thread_time_ns()
        self.follow()
        slow = now_ns >= self.next_slow_ns
        for one in self.known.values():
            one.quick(now_ns)
            if slow:
                one.slow(now_ns)
        if slow:
            self.next_slow_ns = now_ns + max(SLOW_PERIOD_NS, self.period_ns)
        self.whole_host(now_ns)
        took = time.thread_time_ns() - began
        self.busy_ns += took
        self.period_ns = max(PERIOD_NS, int(took / MOST_SHARE) if not slow else self.period_ns)
        return now_ns + self.period_ns

    def follow(self) -> None:
        """Open the files of newcomers, close those of the gone."""
        codes = {one.process for one in self.job.processes.values()}
        for one in self.job.processes.values():
            if one.process not in self.known:
                self.known[one.process] = Readings(one, self.job)
        for process in [process for process in self.known if process not in codes]:
            self.known.pop(process).close()

    def whole_host(self, now_ns: int) -> None:
        """Busy and waiting-for-I/O time of all cores, cumulative over cores."""
        lines = (proc.read("/proc/stat") or "").splitlines()
        if not lines:
            return
        user, nice, system, idle, iowait, irq, soft, steal = (int(word) * TICK_NS for word in lines[0].split()[1:9])
        count = sum(line.startswith("cpu") for line in lines) - 1
        busy = user + nice + system + irq + soft + steal
        row = {"host_cpu_busy_ns": busy, "iowait_ns": iowait, "host_cpu_idle_ns": idle, "host_cpu_count": count}
        self.stream.append({"ts": now_ns, "tid": -1, **row})

    def stop(self) -> SourceStatus:
        for one in self.known.values():
            one.slow(time.monotonic_ns())
            one.close()
        share = self.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)
        slowed = self.period_ns > 2 * PERIOD_NS
        reason = f"read every {self.period_ns / 1e9:.1f} s only, to stay cheap" if slowed else None
        return SourceStatus(self.NAME, "partial" if slowed else "ok", reason, share)
