"""What the kernel counts for one process: CPU, waiting for a core, memory, I/O, faults, switches.
Files are kept open.

`cpu_ns` is the process's CPU clock (nanoseconds, all threads, also those that ended; a running
thread counts up to the last scheduler tick). It costs a tenth of reading /proc/PID/stat, whose
utime + stime come in steps of 10 ms; /proc/PID/schedstat covers the main thread only.
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


def opened(path: str) -> int:
    """A descriptor of the file, -1 when it cannot be read."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def pread(file: int, size: int) -> str:
    """The beginning of an open file of /proc; "" when the process is gone or may not be read."""
    try:
        return os.pread(file, size, 0).decode("ascii", "replace") if file >= 0 else ""
    except OSError:
        return ""


def named(text: str, names: dict[str, str]) -> Row:
    """`NAME: value` lines, under the names of ours."""
    row = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in names:
            row[names[name]] = int(value)
    return row


class ProcessReadings:
    """One living process; `pid` as the agent sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.clock = (
            ~pid << 3 | 2
        )  # CPUCLOCK_SCHED of a process: what clock_getcpuclockid(3) returns
        self.stat = opened(f"/proc/{pid}/stat")
        self.io = opened(f"/proc/{pid}/io")
        self.status = opened(f"/proc/{pid}/status")
        self.schedstat = opened(f"/proc/{pid}/task/{pid}/schedstat")
        self.delays: dict[str, int] = {}
        self.delay_of_ended = 0

    @property
    def io_hidden(self) -> bool:
        """May we not see its I/O (another user's process)? One that was gone before we could look
        hides nothing.
        """
        return self.io < 0 <= self.status

    def quick(self) -> Row | None:
        """cpu_ns, rss_bytes, major_faults, threads, rchar, read_bytes, write_bytes; None when the
        process is gone.
        """
        text = pread(self.stat, 1024)
        if not text:
            return None
        fields = text[text.rindex(")") + 2 :].split()
        if fields[0] in "ZX":
            return None
        row = {
            "cpu_ns": self.cpu_ns(fields),
            "rss_bytes": int(fields[21]) * PAGE_BYTES,
            "major_faults": int(fields[9]),
            "threads": int(fields[17]),
        }
        return row | named(pread(self.io, 512), IO_COUNTERS)

    def cpu_ns(self, stat: list[str]) -> int:
        try:
            return time.clock_gettime_ns(self.clock)
        except OSError:  # a kernel or sandbox without it
            return (int(stat[11]) + int(stat[12])) * TICK_NS

    def main_thread(self) -> Row:
        """cpu_ns of the main thread, and its run_delay_ns: runnable, but waiting for a core."""
        fields = pread(self.schedstat, 128).split()
        return {"cpu_ns": int(fields[0]), "run_delay_ns": int(fields[1])} if len(fields) > 1 else {}

    def switches(self) -> Row:
        """voluntary_switches and involuntary_switches of the main thread."""
        return named(pread(self.status, 8192), SWITCHES)

    def all_threads(self) -> Row:
        """run_delay_ns of all threads, those that ended since the first reading counted on."""
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
            if now.get(tid, -1) < delay:  # ended, or its number is another thread's now
                self.delay_of_ended += delay
        self.delays = now
        return {"run_delay_ns": self.delay_of_ended + sum(now.values())} if now else {}

    def close(self) -> None:
        for file in (self.stat, self.io, self.status, self.schedstat):
            if file >= 0:
                os.close(file)
