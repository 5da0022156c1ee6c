"""The library whose code the main threads of ranks and workers run, sampled by the kernel.

Python stacks end at a line of Python; this shows whether that line runs in the interpreter, in
torch, or in another library. The stream "host.native" has one row per sample. Samples are taken per
period of CPU time: a thread that waits has none.
"""

from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.host.cpu_samples import KERNEL, CpuSampler, MappedCode
from perfscope.agent.overhead.sampling_pace import SamplingPace
from perfscope.errors import CollectorUnavailable
from perfscope.traces.run_folder.manifest import SourceStatus

PERIODS_NS = {"main": 19_700_000, "loader-worker": 49_700_000}
"""CPU time between two samples, by the role of the process: no round number, so that samples do not
stay in phase with a loop.
"""
MOST_SHARE = 0.003
"""The share of a core that sampling may take."""
MOST_PROCESSES = 64
NOT_PERMITTED = (
    "the kernel does not permit sampling other processes: that needs perf_event_paranoid of at most"
    " 2, or CAP_PERFMON"
)


class SampledThread:
    """The main thread of a process of the job, and the stream of its samples."""

    def __init__(self, target: TargetProcess, job: Job) -> None:
        """Raises OSError where sampling is not permitted."""
        self.target = target
        self.period_ns = PERIODS_NS[target.role]
        self.sampler = CpuSampler(target.pid, self.period_ns)
        self.code = MappedCode(target.pid)
        self.stream = job.run.jsonl("host.native", target.process)

    def write_samples(self, now_ns: int) -> None:
        """Write the samples since the last call."""
        for sample in self.sampler.read():
            name = KERNEL if sample.in_kernel else self.code.name_at(sample.address, now_ns)
            row = {
                "ts": sample.ts,
                "tid": self.target.ns_pid,
                "weight_ns": self.period_ns,
                "library": name,
            }
            self.stream.append(row)


class NativeCode(Collector):
    """Samples main threads by their CPU time."""

    NAME = "native_code"
    PERIOD_NS = 250_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where the kernel does not permit it."""
        self.job = job
        self.threads: dict[int, SampledThread] = {}
        self.refused: set[int] = set()
        self.pace = SamplingPace(self.PERIOD_NS, MOST_SHARE)
        self.open_and_close()
        if self.refused and not self.threads:
            raise CollectorUnavailable(NOT_PERMITTED)

    def poll(self, now_ns: int) -> int:
        started_ns = self.pace.start()
        has_new = self.open_and_close()
        for thread in self.threads.values():
            thread.write_samples(now_ns)
        return now_ns + self.pace.end(started_ns, usual=not has_new)

    def open_and_close(self) -> bool:
        """Begin to sample new processes, end ended ones; return whether any is new."""
        wanted = {
            target.process: target
            for target in self.job.processes.values()
            if target.role in PERIODS_NS
        }
        for process in self.threads.keys() - wanted.keys():
            self.close(self.threads.pop(process))
        new = sorted(wanted.keys() - self.threads.keys() - self.refused)
        for process in new[: MOST_PROCESSES - len(self.threads)]:
            try:
                self.threads[process] = SampledThread(wanted[process], self.job)
            except OSError:
                self.refused.add(process)
        return bool(new)

    def close(self, thread: SampledThread) -> None:
        """Write the last samples of a thread and end its sampling."""
        thread.write_samples(thread.code.read_ns)
        thread.sampler.close()

    def stop(self) -> SourceStatus:
        for thread in self.threads.values():
            self.close(thread)
        reasons = [self.pace.slowdown] if self.pace.slowdown else []
        if self.refused:
            reasons.append(f"{len(self.refused)} processes could not be sampled")
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, self.pace.share)
