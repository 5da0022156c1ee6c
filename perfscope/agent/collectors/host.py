"""Counters of every process of the job five times a second, of the whole host once a second: stream
"host.counters".

What is dearer to read (every thread's run-queue delay, context switches) is read once a second, a
fifth of the processes with each look. Names and units: docs/tables.md.
"""

import time

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.host.host_readings import HostReadings
from perfscope.agent.host.listening import listening_sockets
from perfscope.agent.host.process_readings import ProcessReadings
from perfscope.agent.pace import Pace
from perfscope.traces.run.manifest import SourceStatus

LOOKS_A_SLOW_ONE = 5
MOST_SHARE = 0.007
"""Of a core. With the thread states (0.008) and the recorder itself the agent stays below 0.02."""


class OneProcess:
    """A process's readings and where they go."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        self.target = target
        self.readings = ProcessReadings(target.pid)
        self.stream = job.run.jsonl("host.counters", target.process)

    def first(self, now_ns: int) -> None:
        """What is looked up once."""
        listening = listening_sockets(self.target.pid)
        if listening is not None:
            self.stream.append({"ts": now_ns, "tid": -1, "listening_sockets": listening})

    def quick(self, now_ns: int) -> bool:
        """False when the process is gone."""
        row = self.readings.quick()
        if row is None:
            return False
        self.stream.append({"ts": now_ns, "tid": -1, **row})
        self.stream.append({"ts": now_ns, "tid": self.target.ns_pid, **self.readings.main_thread()})
        return True

    def slow(self, now_ns: int) -> None:
        threads, main = self.readings.all_threads(), self.readings.switches()
        if threads:
            self.stream.append({"ts": now_ns, "tid": -1, **threads})
        if main:
            self.stream.append({"ts": now_ns, "tid": self.target.ns_pid, **main})


class Host(Collector):
    """The collector; looks less often when it costs more than its share of a core."""

    NAME = "host"
    PERIOD_NS = 200_000_000

    def start(self, job: Job) -> None:
        self.job = job
        self.known: dict[int, OneProcess] = {}
        self.hidden: set[int] = set()
        self.looks = 0
        self.pace = Pace(self.PERIOD_NS, MOST_SHARE)
        self.host = HostReadings(job.root_pid)
        self.host_stream = job.run.jsonl("host.counters", -1)

    def poll(self, now_ns: int) -> int:
        started = self.pace.start()
        newcomers = self.follow()
        for process in newcomers:
            self.known[process].first(now_ns)
        for one in self.known.values():
            if one.quick(now_ns) and (
                one.target.process in newcomers or self.is_turn(one.target.process)
            ):
                one.slow(now_ns)
        if self.is_turn(0):
            self.host_stream.append({"ts": now_ns, "tid": -1, **self.host.read()})
        self.looks += 1
        return now_ns + self.pace.end(started, usual=not newcomers)

    def is_turn(self, process: int) -> bool:
        return (self.looks - process) % LOOKS_A_SLOW_ONE == 0

    def follow(self) -> set[int]:
        """Open the files of newcomers, close those of the gone; returns the newcomers."""
        living = {one.process: one for one in self.job.processes.values()}
        for process in self.known.keys() - living.keys():
            self.known.pop(process).readings.close()
        newcomers = living.keys() - self.known.keys()
        for process in newcomers:
            one = self.known[process] = OneProcess(living[process], self.job)
            if one.readings.io_hidden:
                self.hidden.add(living[process].pid)
        return set(newcomers)

    def stop(self) -> SourceStatus:
        started, now_ns = self.pace.start(), time.monotonic_ns()
        for one in self.known.values():
            if one.quick(now_ns):
                one.slow(now_ns)
            one.readings.close()
        self.host_stream.append({"ts": now_ns, "tid": -1, **self.host.read()})
        self.host.close()
        self.pace.end(started, usual=False)
        hidden = (
            f"the kernel hides the I/O of {len(self.hidden)} processes (another user's)"
            if self.hidden
            else None
        )
        reason = "; ".join(why for why in (self.pace.slowed, hidden) if why) or None
        return SourceStatus(self.NAME, "partial" if reason else "ok", reason, self.pace.share)
