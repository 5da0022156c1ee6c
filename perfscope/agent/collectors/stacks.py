"""Python stacks of the main processes and of one loader worker, sampled from outside by py-spy.
Of an inference engine, those of all its Python processes.

Unlike the probe, py-spy does not wait for the GIL, so its samples are not more frequent where the
program releases it. Their times are exact only to within tens of milliseconds. The workers of a
loader run the same code, so one of them is enough.

They are written to the stream "pyspy.stacks", one row per thread and sampling period, so that rows
count like samples. The cost of py-spy is measured; where it exceeds its share of a core, py-spy is
started again at a lower rate.
"""

import time
from contextlib import suppress

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.engine_metrics.engine_process import find_engine
from perfscope.agent.host import proc
from perfscope.agent.job.roles import is_helper_command
from perfscope.agent.stacks.py_spy import PySpy, PySpyEvent, find_py_spy, read_stacks
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run_folder.manifest import SourceStatus

RATE_HZ = 10.0
SLOWEST_HZ = 1.0
MOST_SHARE = 0.01
"""The largest share of a core that py-spy may use."""
TOLERANCE = 1.5
MEASURED_AFTER_NS = 5_000_000_000
MOST_PROCESSES = 4
WORKER_HZ = 5.0
WORKER_AGE_NS = 2_000_000_000
"""A worker is sampled from this age on: those of short epochs end before."""


class StackSampling:
    """One process, sampled by one py-spy after another."""

    def __init__(
        self,
        executable: str,
        target: TargetProcess,
        rate_hz: float = RATE_HZ,
        *,
        names_threads: bool = True,
    ) -> None:
        self.executable, self.target = executable, target
        self.rate_hz, self.names_threads = rate_hz, names_threads
        self.ended: list[tuple[PySpy, list[PySpyEvent]]] = []
        self.sampling: PySpy | None = self.begin()

    def begin(self) -> PySpy:
        """Start py-spy at the current rate. Raises OSError."""
        sampling = PySpy(
            self.executable, self.target.pid, self.rate_hz, names_threads=self.names_threads
        )
        sampling.begin()
        return sampling

    def poll(self, most_share: float) -> None:
        """Read thread ids; start py-spy again, at a lower rate, where it costs too much."""
        if self.sampling is None:
            return
        if not self.sampling.handles and not self.sampling.has_ended(self.sampling.process):
            self.sampling.name_threads()
        share = self.sampling.share
        if share is None or share <= TOLERANCE * most_share or self.rate_hz <= SLOWEST_HZ:
            return
        if time.monotonic_ns() - self.sampling.began_ns > MEASURED_AFTER_NS:
            self.end()
            slower_hz = self.rate_hz * most_share // share  # py-spy takes no fractions
            self.rate_hz = max(SLOWEST_HZ, slower_hz)
            with suppress(OSError):  # the process may have ended
                self.sampling = self.begin()

    def end(self) -> None:
        """End py-spy, if it runs, and keep what it has written."""
        sampling, self.sampling = self.sampling, None
        if sampling is not None:
            self.ended.append((sampling, sampling.end()))

    @property
    def cpu_s(self) -> float:
        """CPU time of all py-spy that have ended."""
        return sum(sampling.ended_cpu_s for sampling, _ in self.ended)

    def rows(self) -> list[dict[str, object]]:
        """Return the rows of "pyspy.stacks"."""
        tids: dict[int, int] = {}
        for sampling, _ in self.ended:
            tids |= sampling.handles
        rows: list[dict[str, object]] = []
        for sampling, events in self.ended:
            rows += stack_rows(sampling, events, tids)
        return rows


def stack_rows(
    sampling: PySpy, events: list[PySpyEvent], tids: dict[int, int]
) -> list[dict[str, object]]:
    """Return the rows of one run of py-spy: each stack once per sampling period that it lasted.

    `tids` has thread ids by pthread handle; a thread that ended before its id was read keeps its
    handle for an id.
    """
    rows: list[dict[str, object]] = []
    period_us = 1e6 / sampling.rate_hz
    for stack in read_stacks(events, sampling.folder):
        count = max(1, round(stack.duration_us / period_us))
        weight_us = stack.duration_us / count
        for index in range(count):
            begin_us = stack.begin_us + index * weight_us
            row = {
                "ts": sampling.zero_ns + int(begin_us * 1000),
                "tid": tids.get(stack.thread, stack.thread),
                "weight_ns": int(weight_us * 1000),
                "stack": stack.text,
            }
            rows.append(row)
    return rows


class Stacks(Collector):
    """Runs one py-spy per main process, for at most MOST_PROCESSES, and one for a worker."""

    NAME = "stacks"
    PERIOD_NS = 500_000_000

    def start(self, job: Job) -> None:
        executable = find_py_spy()
        if executable is None:
            raise CollectorUnavailable("py-spy is not installed: `pip install py-spy`")
        if not any(target.is_python for target in job.processes.values()):
            raise CollectorUnavailable("the process is not Python")
        self.job, self.executable = job, executable
        self.sampled: dict[int, StackSampling] = {}
        self.worker: StackSampling | None = None
        self.worker_seen_ns: dict[int, int] = {}
        self.start_error: str | None = None
        self.is_engine = find_engine(job.root_pid) is not None
        self.began_ns = time.monotonic_ns()

    def is_sampled(self, target: TargetProcess) -> bool:
        """Return whether a process is sampled all the time: in an engine each has its own part."""
        if target.role == "main" or not self.is_engine:
            return target.role == "main"
        return target.is_python and not is_helper_command(proc.command_line(target.pid))

    def poll(self, now_ns: int) -> int:
        mains = [target for target in self.job.processes.values() if self.is_sampled(target)]
        for target in sorted(mains, key=lambda main: main.process):
            is_new = target.process not in self.sampled
            if is_new and len(self.sampled) < MOST_PROCESSES and self.start_error is None:
                self.begin_sampling(target)
        for process in self.sampled.values():
            process.poll(MOST_SHARE / len(self.sampled))
        self.sample_a_worker(now_ns)
        return now_ns + self.PERIOD_NS

    def sample_a_worker(self, now_ns: int) -> None:
        """Sample the first loader worker that lives for a while, until it ends."""
        if self.worker is not None:
            self.worker.poll(MOST_SHARE)
        if self.worker is not None or self.is_engine:
            return
        for target in self.job.processes.values():
            if target.role != "loader-worker" or not target.is_python:
                continue
            seen_ns = self.worker_seen_ns.setdefault(target.process, now_ns)
            if now_ns - seen_ns >= WORKER_AGE_NS:
                with suppress(OSError):  # it may have ended
                    self.worker = StackSampling(
                        self.executable, target, WORKER_HZ, names_threads=False
                    )
                return

    def begin_sampling(self, target: TargetProcess) -> None:
        """Start py-spy for a process; keep the error if that fails."""
        try:
            self.sampled[target.process] = StackSampling(self.executable, target)
        except OSError as error:
            self.start_error = f"py-spy cannot be started: {error.strerror}"

    def stop(self) -> SourceStatus:
        for process in self.all_sampled():
            process.end()
        elapsed_s = max((time.monotonic_ns() - self.began_ns) / 1e9, 1e-9)
        cpu_s = sum(process.cpu_s for process in self.all_sampled())
        share = cpu_s / elapsed_s
        count = self.write_rows()
        problem = self.start_error or self.first_error()
        if not count:
            reason = problem or "py-spy saw no Python stack"
            return SourceStatus(self.NAME, "unavailable", reason, share)
        reasons = [problem] if problem else []
        slowest_hz = min(process.rate_hz for process in self.sampled.values())
        if slowest_hz < RATE_HZ:
            reasons.append(f"sampled {slowest_hz:.1f} times per second, to limit its own cost")
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, share)

    def all_sampled(self) -> list[StackSampling]:
        """Return the main processes and the worker that are or were sampled."""
        workers = [] if self.worker is None else [self.worker]
        return [*self.sampled.values(), *workers]

    def write_rows(self) -> int:
        """Write all rows and return their number."""
        count = 0
        for process in self.all_sampled():
            stream = self.job.run.jsonl("pyspy.stacks", process.target.process)
            for row in process.rows():
                stream.append(row)
                self.job.program_lines.add(process.target.process, str(row["stack"]))
                count += 1
        return count

    def first_error(self) -> str | None:
        """Return the first error that a py-spy reported."""
        for process in self.sampled.values():
            for sampling, _ in process.ended:
                if sampling.error:
                    return f"py-spy: {sampling.error}"
        return None
