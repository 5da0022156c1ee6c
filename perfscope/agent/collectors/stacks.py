"""Depth `observe`: Python stacks of the main processes, from outside, by py-spy: stream
"pyspy.stacks".

One row a thread and sampling period, so that rows count like samples. py-spy's own cost is
measured; where it is more than its share of a core, it is started again at a lower rate.
"""

import resource
import time

from perfscope.agent.collector import Collector, Job, Need, TargetProcess
from perfscope.agent.py_spy import Event, Sampling, program, stacks
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run.manifest import SourceStatus

RATE_HZ = 10.0
SLOWEST_HZ = 1.0
MOST_SHARE = 0.01
JUDGED_AFTER_NS = 5_000_000_000
MOST_PROCESSES = 4


class Watch:
    """One main process, sampled by one py-spy after another."""

    def __init__(self, spy: str, target: TargetProcess) -> None:
        self.spy, self.target = spy, target
        self.rate_hz = RATE_HZ
        self.done: list[tuple[Sampling, list[Event]]] = []
        self.sampling = self.begin()

    def begin(self) -> Sampling:
        sampling = Sampling(self.spy, self.target.pid, self.rate_hz)
        sampling.begin()
        return sampling

    def poll(self, most_share: float) -> None:
        """Learn thread ids; start again more slowly when it costs too much."""
        if not self.sampling.handles and self.sampling.process.poll() is None:
            self.sampling.name_threads()
        share = self.sampling.share
        dear = share is not None and share > 1.5 * most_share and self.rate_hz > SLOWEST_HZ
        if (
            share is not None
            and dear
            and time.monotonic_ns() - self.sampling.began_ns > JUDGED_AFTER_NS
        ):
            self.end()
            self.rate_hz = max(SLOWEST_HZ, self.rate_hz * most_share / share)
            self.sampling = self.begin()

    def end(self) -> None:
        self.done.append((self.sampling, self.sampling.end()))

    def rows(self) -> list[dict[str, object]]:
        """Rows of "pyspy.stacks": each stack once a sampling period that it stood."""
        handles = {
            handle: tid for sampling, _ in self.done for handle, tid in sampling.handles.items()
        }
        rows: list[dict[str, object]] = []
        for sampling, events in self.done:
            period_us = 1e6 / sampling.rate_hz
            for one in stacks(events):
                pieces = max(1, round(one.stood_us / period_us))
                weight_us = one.stood_us / pieces
                for piece in range(pieces):
                    ts = sampling.zero_ns + int((one.at_us + piece * weight_us) * 1000)
                    tid = handles.get(one.thread, one.thread)
                    rows.append(
                        {
                            "ts": ts,
                            "tid": tid,
                            "weight_ns": int(weight_us * 1000),
                            "stack": one.stack,
                        }
                    )
        return rows


class Stacks(Collector):
    """The collector. A thread that ended before its id was learned keeps its pthread handle for a
    tid.
    """

    NAME = "stacks"
    PERIOD_NS = 500_000_000
    NEEDS = frozenset({Need.NO_PROBE})

    def start(self, job: Job) -> None:
        spy = program()
        if spy is None:
            raise CollectorUnavailable("py-spy is not installed here: `pip install py-spy`")
        if not any(one.is_python for one in job.processes.values()):
            raise CollectorUnavailable("the process is not Python")
        self.job, self.spy = job, spy
        self.watched: dict[int, Watch] = {}
        self.trouble: str | None = None
        self.began_ns = time.monotonic_ns()
        self.used_s = children_cpu_s()

    def poll(self, now_ns: int) -> int:
        mains = sorted(
            (one for one in self.job.processes.values() if one.role == "main"),
            key=lambda one: one.process,
        )
        for one in mains:
            if (
                one.process not in self.watched
                and len(self.watched) < MOST_PROCESSES
                and self.trouble is None
            ):
                self.take_in(one)
        for watch in self.watched.values():
            watch.poll(MOST_SHARE / len(self.watched))
        return now_ns + self.PERIOD_NS

    def take_in(self, target: TargetProcess) -> None:
        try:
            self.watched[target.process] = Watch(self.spy, target)
        except OSError as error:
            self.trouble = f"py-spy cannot be started: {error.strerror}"

    def stop(self) -> SourceStatus:
        for watch in self.watched.values():
            watch.end()
        share = (children_cpu_s() - self.used_s) / max(
            (time.monotonic_ns() - self.began_ns) / 1e9, 1e-9
        )
        seen = 0
        for watch in self.watched.values():
            stream = self.job.run.jsonl("pyspy.stacks", watch.target.process)
            for row in watch.rows():
                stream.append(row)
                seen += 1
        complaints = [
            sampling.said
            for watch in self.watched.values()
            for sampling, _ in watch.done
            if sampling.said
        ]
        trouble = self.trouble or (f"py-spy: {complaints[0]}" if complaints else None)
        if not seen:
            return SourceStatus(
                self.NAME, "unavailable", trouble or "py-spy saw no Python stack", share
            )
        slowest_hz = min(watch.rate_hz for watch in self.watched.values())
        slowed = (
            f"sampled {slowest_hz:.1f} times a second, to stay cheap"
            if slowest_hz < RATE_HZ
            else None
        )
        reason = "; ".join(why for why in (trouble, slowed) if why) or None
        return SourceStatus(self.NAME, "partial" if reason else "ok", reason, share)


def children_cpu_s() -> float:
    """CPU seconds of all children that we have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
