"""Whether a job moves: the CPU time and the I/O of its processes since the last check."""

import os
import time
from collections.abc import Iterable

from perfscope.agent.host import proc
from perfscope.agent.host.process_readings import parse_counters

QUIET_SHARE = 0.04
"""Of a core, of one process: threads that look for a change from time to time take less."""
QUIET_BYTES_PER_S = 32_768
"""A progress bar or a log line per second is less."""
IO_COUNTERS = {"rchar": "read", "wchar": "written", "read_bytes": "stored", "write_bytes": "store"}
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class JobActivity:
    """CPU time and I/O of processes, compared with the last check."""

    def __init__(self) -> None:
        self.checked_ns = 0
        self.checked_before_ns = 0
        """The time of the check before the last one."""
        self.cpu_ns: dict[int, int] = {}
        self.bytes: dict[int, int] = {}

    def is_quiet(self, processes: Iterable[int], now_ns: int, outside: Iterable[int] = ()) -> bool:
        """Return whether these processes have done next to nothing since the last check.

        One of the job that is new has done something: it was started. One that is `outside` of the
        job may have been there before.
        """
        elapsed_s = (now_ns - self.checked_ns) / 1e9
        self.checked_before_ns, self.checked_ns = self.checked_ns, now_ns
        job = set(processes)
        pids = job.union(outside)
        cpu_ns = {pid: cpu_clock_ns(pid) for pid in pids}
        done = {pid: transferred_bytes(pid) for pid in pids}
        before_ns, before = self.cpu_ns, self.bytes
        self.cpu_ns, self.bytes = cpu_ns, done
        if not job or not before_ns or not job <= before_ns.keys():
            return False
        used_ns = max(cpu_ns[pid] - before_ns.get(pid, cpu_ns[pid]) for pid in pids)
        moved = max(done[pid] - before.get(pid, done[pid]) for pid in pids)
        is_idle = used_ns <= QUIET_SHARE * elapsed_s * 1e9
        return is_idle and moved <= QUIET_BYTES_PER_S * elapsed_s


def cpu_clock_ns(pid: int) -> int:
    """Return the CPU time of a process, 0 when it is gone."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)  # what clock_getcpuclockid(3) returns
    except OSError:
        fields = (proc.read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_NS if len(fields) > 12 else 0


def transferred_bytes(pid: int) -> int:
    """Return the bytes that a process has read and written, 0 where that is hidden."""
    counters = parse_counters(proc.read(f"/proc/{pid}/io") or "", IO_COUNTERS)
    return counters.get("read", 0) + counters.get("written", 0) + stored_bytes(counters)


def stored_bytes(counters: dict[str, int]) -> int:
    """Return the bytes to and from storage: no call reads a page that is mapped."""
    return counters.get("stored", 0) + counters.get("store", 0)
