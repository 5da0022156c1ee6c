"""Counters of the job's processes (five times per second) and of the host (once per second).

They are written to the stream "host.counters"; docs/tables.md has names and units. Counters that
are expensive to read (run-queue delay of every thread, context switches) are read once per second:
each poll reads those of a fifth of the processes.
"""

import time

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.host.host_readings import HostReadings
from perfscope.agent.host.listening_sockets import count_listening_sockets
from perfscope.agent.host.process_readings import ProcessReadings
from perfscope.agent.overhead.sampling_pace import SamplingPace
from perfscope.traces.run_folder.manifest import SourceStatus

POLLS_PER_SLOW_READING = 5
MOST_SHARE = 0.007
"""Share of a core. With the thread states (0.008) and the recorder, the agent stays below 0.02."""


class ProcessCounters:
    """The readings of one process, and the stream they are written to."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.readings = ProcessReadings(target.pid)
        self.stream = job.run.jsonl("host.counters", target.process)

    def write_first(self, now_ns: int) -> None:
        """Write what is read only once."""
        listening = count_listening_sockets(self.target.pid)
        if listening is not None:
            self.stream.append({"ts": now_ns, "tid": -1, "listening_sockets": listening})

    def write_quick(self, now_ns: int) -> bool:
        """Write the cheap counters; return False when the process is gone."""
        row = self.readings.quick()
        if row is None:
            return False
        self.stream.append({"ts": now_ns, "tid": -1, **row})
        self.stream.append({"ts": now_ns, "tid": self.target.ns_pid, **self.readings.main_thread()})
        return True

    def write_slow(self, now_ns: int) -> None:
        """Write the expensive counters."""
        threads, main = self.readings.all_threads(), self.readings.switches()
        if threads:
            self.stream.append({"ts": now_ns, "tid": -1, **threads})
        if main:
            self.stream.append({"ts": now_ns, "tid": self.target.ns_pid, **main})


class Host(Collector):
    """Reads counters in /proc; less often where that would cost more than its share of a core."""

    NAME = "host"
    PERIOD_NS = 200_000_000

    def start(self, job: Job) -> None:
        self.job = job
        self.counters: dict[int, ProcessCounters] = {}
        self.pids_with_hidden_io: set[int] = set()
        self.polls = 0
        self.pace = SamplingPace(self.PERIOD_NS, MOST_SHARE)
        self.host = HostReadings(job.root_pid)
        self.host_stream = job.run.jsonl("host.counters", -1)

    def poll(self, now_ns: int) -> int:
        started_ns = self.pace.start()
        new = self.open_and_close()
        for process in new:
            self.counters[process].write_first(now_ns)
        for process, counters in self.counters.items():
            is_alive = counters.write_quick(now_ns)
            if is_alive and (process in new or self.is_turn_of(process)):
                counters.write_slow(now_ns)
        if self.is_turn_of(0):
            self.write_host(now_ns)
        self.polls += 1
        return now_ns + self.pace.end(started_ns, usual=not new)

    def is_turn_of(self, process: int) -> bool:
        """Return whether this poll reads the expensive counters of a process."""
        return (self.polls - process) % POLLS_PER_SLOW_READING == 0

    def open_and_close(self) -> set[int]:
        """Open the files of new processes and close those of ended ones; return the new ones."""
        living = {target.process: target for target in self.job.processes.values()}
        for process in self.counters.keys() - living.keys():
            self.counters.pop(process).readings.close()
        new = living.keys() - self.counters.keys()
        for process in new:
            counters = ProcessCounters(living[process], self.job)
            self.counters[process] = counters
            if counters.readings.io_hidden:
                self.pids_with_hidden_io.add(living[process].pid)
        return set(new)

    def write_host(self, now_ns: int) -> None:
        """Write the counters of the host."""
        self.host_stream.append({"ts": now_ns, "tid": -1, **self.host.read()})

    def stop(self) -> SourceStatus:
        started_ns, now_ns = self.pace.start(), time.monotonic_ns()
        for counters in self.counters.values():
            if counters.write_quick(now_ns):
                counters.write_slow(now_ns)
            counters.readings.close()
        self.write_host(now_ns)
        self.host.close()
        self.pace.end(started_ns, usual=False)
        reasons = [self.pace.slowdown] if self.pace.slowdown else []
        hidden = len(self.pids_with_hidden_io)
        if hidden:
            reasons.append(f"the kernel hides the I/O of {hidden} processes of another user")
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, self.pace.share)
