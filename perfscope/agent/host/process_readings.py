"""Counters of one process: CPU, waits for a core, memory, I/O, page faults, context switches.

`cpu_ns` is the CPU clock of the process, in nanoseconds. It covers all threads, also ended ones; a
running thread counts up to the last scheduler tick. Reading it costs a tenth of /proc/PID/stat,
whose utime and stime have steps of 10 ms. /proc/PID/schedstat covers the main thread only.
"""

import os
import time

from perfscope.agent.host import proc

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_NS = 1_000_000_000 // proc.TICKS_PER_S
IO_COUNTERS = {"rchar": "rchar", "read_bytes": "read_bytes", "write_bytes": "write_bytes"}
SWITCHES = {
    "voluntary_ctxt_switches": "voluntary_switches",
    "nonvoluntary_ctxt_switches": "involuntary_switches",
}
Row = dict[str, int]


def open_for_reading(path: str) -> int:
    """Return a descriptor of the file, -1 when it cannot be read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def read_at_start(file: int, size: int) -> str:
    """Return the beginning of an open file of /proc; empty when the process is gone."""
    try:
        return os.pread(file, size, 0).decode("ascii", "replace") if file >= 0 else ""
    except OSError:
        return ""


def parse_counters(text: str, names: dict[str, str]) -> Row:
    """Return the values of `NAME: value` lines, renamed by `names`."""
    row = {}
    for line in proc.kernel_lines(text):
        name, _, value = line.partition(":")
        if name in names:
            row[names[name]] = int(value)
    return row


class ProcessReadings:
    """The open files of one process; `pid` is its pid in the agent's pid namespace."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        # CPUCLOCK_SCHED of a process: what clock_getcpuclockid(3) returns.
        self.clock = ~pid << 3 | 2
        self.stat = open_for_reading(f"/proc/{pid}/stat")
        self.io = open_for_reading(f"/proc/{pid}/io")
        self.status = open_for_reading(f"/proc/{pid}/status")
        self.schedstat = open_for_reading(f"/proc/{pid}/task/{pid}/schedstat")
        self.delays: dict[str, int] = {}
        self.delay_of_ended = 0

    @property
    def io_hidden(self) -> bool:
        """Whether the kernel hides its I/O, because it is another user's process."""
        return self.io < 0 <= self.status

    def quick(self) -> Row | None:
        """Return CPU time, memory, page faults, threads and I/O; None when the process is gone."""
        text = read_at_start(self.stat, 1024)
        if not text:
            return None
        fields = text[text.rindex(")") + 2 :].split()
        if fields[0] in "ZX":
            return None
        row = {
            "cpu_ns": self.cpu_ns(fields),
            "rss_bytes": int(fields[21]) * PAGE_BYTES,
            "minor_faults": int(fields[7]),
            "major_faults": int(fields[9]),
            "threads": int(fields[17]),
        }
        return row | parse_counters(read_at_start(self.io, 512), IO_COUNTERS)

    def cpu_ns(self, stat: list[str]) -> int:
        """Return the CPU time; from the fields of /proc/PID/stat where there is no CPU clock."""
        try:
            return time.clock_gettime_ns(self.clock)
        except OSError:
            return (int(stat[11]) + int(stat[12])) * TICK_NS

    def main_thread(self) -> Row:
        """Return CPU time and run-queue delay (runnable, waiting for a core) of the main thread."""
        fields = read_at_start(self.schedstat, 128).split()
        if len(fields) < 2:
            return {}
        return {"cpu_ns": int(fields[0]), "run_delay_ns": int(fields[1])}

    def switches(self) -> Row:
        """Return the context switches of the main thread."""
        return parse_counters(read_at_start(self.status, 8192), SWITCHES)

    def all_threads(self) -> Row:
        """Return the run-queue delay of all threads, including those that have ended meanwhile."""
        folder = f"/proc/{self.pid}/task"
        try:
            threads = os.listdir(folder)
        except OSError:
            return {}
        now: dict[str, int] = {}
        for tid in threads:
            fields = (proc.read(f"{folder}/{tid}/schedstat") or "").split()
            if len(fields) > 1:
                now[tid] = int(fields[1])
        for tid, delay in self.delays.items():
            has_ended = now.get(tid, -1) < delay  # or its id belongs to another thread now
            if has_ended:
                self.delay_of_ended += delay
        self.delays = now
        return {"run_delay_ns": self.delay_of_ended + sum(now.values())} if now else {}

    def close(self) -> None:
        """Close the files."""
        for file in (self.stat, self.io, self.status, self.schedstat):
            if file >= 0:
                os.close(file)
