"""Records one job from start to end: finds its processes, runs the collectors, decides when there
is enough, leaves.

Each step of a collector, and of the recorder itself, is guarded (`collector_guard`): a recording
always ends readable.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from perfscope import __version__
from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.collector_guard import Failure, attempt, short_reason
from perfscope.agent.collectors import OUTSIDE, Kernels, Nvtx, OnDemand, Probe, Stacks
from perfscope.agent.collectors.on_demand import may_ask
from perfscope.agent.cpu_use import CpuUse
from perfscope.agent.delivery.discarded import close_discarded
from perfscope.agent.host.cgroup import memory_limit_bytes
from perfscope.agent.host.proc import command_line
from perfscope.agent.host.usable_cores import shm_bytes, usable_cores
from perfscope.agent.idle_priority import lower_priority
from perfscope.agent.job.tree import Tree
from perfscope.agent.job_identity import job_identity, named
from perfscope.agent.probe.counting_blocks import next_block
from perfscope.agent.recording_plan import FLUSH_NS, Plan, Progress
from perfscope.errors import CollectorUnavailable, NothingToCollect, PerfscopeError
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest, SourceStatus
from perfscope.traces.secret_masking import mask_secrets

REFRESH_NS = 500_000_000
CLOCK_NS = 10_000_000_000
LONGEST_NAP_S = 0.1
ENOUGH_STEPS = 20
ENOUGH_S = 10.0


class Recorder:
    """One recording. `record` blocks until it ends; `ask_to_stop` may be called from a signal
    handler.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tree = Tree(
            plan.pid, all_ranks=plan.all_ranks, ours=plan.door is not None, rank=plan.rank
        )
        self.run = RunWriter.create(plan.out, self.manifest())
        self.job = Job(self.run, plan.pid, look_again=self.refresh)
        self.processes = self.run.jsonl("processes", -1)
        self.clock = self.run.jsonl("clock", -1)
        self.probe: Probe | None = None
        self.kernels: Kernels | None = None
        self.on_demand: OnDemand | None = None
        self.running: list[Collector] = []
        self.to_stop: list[Collector] = []
        """Failed collectors; stopping them waits, so it is done at the end."""
        self.problems: list[str] = []
        """One line per problem, for the user."""
        self.statuses: list[SourceStatus] = []
        self.asked_to_stop = False
        self.known: dict[int, dict[str, object]] = {}
        self.settled = False
        self.cpu_use = CpuUse()

    def manifest(self) -> Manifest:
        pid = self.plan.pid
        return Manifest(
            job_id=self.job_id(),
            host=socket.gethostname(),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            zero_monotonic_ns=time.monotonic_ns(),
            zero_realtime_ns=time.time_ns(),
            tool_version=__version__,
            command=mask_secrets(list(self.plan.command) or command_line(pid)),
            target_pid=pid,
            depth="observe",
            usable_cores=usable_cores(pid, *self.tree.tops),
            memory_limit_bytes=memory_limit_bytes(pid),
            shm_bytes=shm_bytes(pid),
        )

    def job_id(self) -> str:
        """Return the name of the job; a command that we started and that has ended already has our
        own launcher's.
        """
        plan = self.plan
        if plan.job:
            return named(plan.job)
        ours = job_identity(os.getpid()) if plan.command else None
        return job_identity(plan.pid) or ours or uuid.uuid4().hex

    def ask_to_stop(self) -> None:
        self.asked_to_stop = True

    def ask_for_window(self) -> None:
        """Take a window of torch's profiler now; may be called from any thread."""
        if self.kernels is not None:
            self.kernels.wanted_now = True

    def record(self, on_tick: Callable[[Progress], None]) -> Path:
        """Record, and return where the run folder is. `on_tick` is called about once a second.

        Raises PerfscopeError when the folder was deleted or moved out of reach. Any other failure
        ends one collector, or the recording, and is added to `problems`.
        """
        reason = "interrupted"
        try:
            watched = attempt(lambda: self.begin_and_watch(on_tick))
            reason = self.report_early_end(watched) if isinstance(watched, Failure) else watched
        finally:
            self.end(reason)
        return self.close_and_locate()

    def begin_and_watch(self, on_tick: Callable[[Progress], None]) -> str:
        self.refresh()
        self.begin()
        if self.plan.gently:
            lower_priority()
        return self.watch(on_tick)

    def report_early_end(self, failure: Failure) -> str:
        """Add a failed step of the recorder to `problems`; return why the recording ended."""
        self.problems.append(
            f"the recording ended early: {failure.reason}; what was recorded until then is kept"
        )
        return f"the recorder failed: {failure.reason}"

    def close_and_locate(self) -> Path:
        """Close the run folder and return where it is now; it may have been moved. Raises
        PerfscopeError.
        """
        path, held = self.plan.out, self.run.held
        try:
            if held.is_deleted():
                raise PerfscopeError(
                    f"{path} was deleted while it was being recorded: nothing is left of the"
                    " recording"
                )
            moved_to = path if held.is_at(path) else held.location()
        finally:
            self.run.let_go()
        if moved_to is None:
            raise PerfscopeError(
                f"{path} was moved while it was being recorded, to where no path leads from here"
            )
        if moved_to != path:
            self.problems.append(
                short_reason(
                    f"{path} was moved during the recording; the run folder is now {moved_to}"
                )
            )
        return moved_to

    def begin(self) -> None:
        """Start every collector; where the probe cannot enter, look from outside with stack
        samples.
        """
        for make in OUTSIDE:
            self.start(make())
        if self.plan.nvtx_door is not None:
            self.start(Nvtx(self.plan.nvtx_door))
        if self.plan.depth == "observe":
            self.statuses.append(SourceStatus("probe", "off", "asked for depth observe"))
            self.start(Stacks())
            return
        windowed = self.plan.depth == "kernels"
        self.probe = Probe(self.plan.window if windowed else None, self.plan.door)
        if not self.start(self.probe):
            self.fall_back(self.statuses[-1].reason, refused=True)
        elif windowed:
            longest_s = None if self.plan.follow else self.plan.max_duration_s
            self.kernels = Kernels(self.probe, self.plan.duration_s or longest_s)
            self.start(self.kernels)

    def start(self, collector: Collector) -> bool:
        """Start a collector; False when this source cannot be had or has failed."""
        started = attempt(lambda: self.try_start(collector))
        if isinstance(started, Failure):
            self.drop(collector, started)
            return False
        if started:
            self.running.append(collector)
        return started

    def try_start(self, collector: Collector) -> bool:
        try:
            collector.start(self.job)
        except NothingToCollect:
            return False
        except CollectorUnavailable as reason:
            self.statuses.append(SourceStatus(collector.NAME, "unavailable", str(reason)))
            return False
        return True

    def poll(self, collector: Collector, now_ns: int) -> int:
        """Poll a collector and return when it is due again; one that fails is dropped."""
        due_ns = attempt(lambda: int(collector.poll(now_ns)))
        if isinstance(due_ns, Failure):
            self.drop(collector, due_ns)
            if collector is self.probe:
                self.go_on_without_probe(due_ns.reason)
            return now_ns + REFRESH_NS
        return due_ns

    def drop(self, collector: Collector, failure: Failure) -> None:
        """End one collector after a failure; the others go on."""
        if collector in self.running:
            self.running.remove(collector)
        self.report_failure(collector, failure)
        if isinstance(
            collector, Kernels | OnDemand
        ):  # stopping may wait for a window: not while others are due
            self.to_stop.append(collector)
            self.kernels = self.on_demand = None
            return
        attempt(collector.stop)
        if collector is self.probe:
            send_probes_away(self.probe)

    def report_failure(self, collector: Collector, failure: Failure) -> None:
        self.statuses.append(SourceStatus(collector.NAME, "failed", failure.reason))
        self.problems.append(
            f"source {collector.NAME} failed: {failure.reason}; the other sources went on"
        )

    def go_on_without_probe(self, reason: str) -> None:
        """The probes are gone: no more windows, and where no process was entered yet, stack samples
        from outside.
        """
        if self.kernels is not None and self.kernels in self.running:
            self.running.remove(self.kernels)
            self.stop(self.kernels)
            self.kernels = None
        if not self.settled:
            self.settled = True
            self.fall_back(reason)

    def fall_back(self, reason: str | None, *, refused: bool = False) -> None:
        """The target cannot be entered: say why and sample its stacks from outside; perhaps Kineto
        takes a window itself.
        """
        self.run.manifest.depth_reason = reason
        if refused and self.plan.depth == "kernels" and may_ask(self.plan.pid):
            if self.kernels in self.running:
                self.running.remove(self.kernels)
            self.kernels, self.on_demand = None, OnDemand(self.plan.window)
            self.start(self.on_demand)
        self.start(Stacks())

    def watch(self, on_tick: Callable[[Progress], None]) -> str:
        """Poll what is due until something ends it; returns what."""
        due: dict[int, int] = {}
        began_ns = time.monotonic_ns()
        refresh_ns = flush_ns = tick_ns = began_ns
        clock_ns = 0
        self.settled = self.probe is None or self.probe not in self.running
        while True:
            now_ns = time.monotonic_ns()
            if self.rests(now_ns):
                continue
            if now_ns >= refresh_ns:
                refresh_ns = now_ns + REFRESH_NS
                self.refresh()
            for collector in [*self.running]:
                if collector in self.running and now_ns >= due.get(id(collector), 0):
                    due[id(collector)] = self.poll(collector, now_ns)
            self.settled = self.settled or self.settle()
            if now_ns >= clock_ns:
                clock_ns = now_ns + CLOCK_NS
                self.pair_clocks()
            if now_ns >= flush_ns:
                flush_ns = now_ns + self.plan.flush_ns
                self.run.flush()
            progress = self.progress((now_ns - began_ns) / 1e9)
            reason = self.over(progress)
            if reason:
                return reason
            if now_ns >= tick_ns:
                tick_ns = now_ns + FLUSH_NS
                on_tick(progress)
            nap_ns = min((*due.values(), refresh_ns)) - time.monotonic_ns()
            time.sleep(min(max(nap_ns / 1e9, 0.001), LONGEST_NAP_S))

    def rests(self, now_ns: int) -> bool:
        """Sleep to the end of a block in which the probes only count steps; says whether it is one.

        What is under way in a target, an entry or an exit, is not kept waiting.
        """
        if self.probe is None or not self.probe.visits or self.probe.entering or self.asked_to_stop:
            return False
        begin, end = next_block(now_ns, self.run.manifest.zero_monotonic_ns)
        if now_ns >= begin:
            time.sleep((end - now_ns) / 1e9)
        return now_ns >= begin

    def settle(self) -> bool:
        """Once it is known whether the main process could be entered: the depth that was
        reached.
        """
        assert self.probe is not None
        if self.plan.door is not None:
            return self.came()
        roots = [one.pid for one in self.job.processes.values() if one.role == "main"]
        torchless = not any(one.has_torch for one in self.job.processes.values())
        if torchless:
            self.fall_back(
                "the process has no torch loaded: there is nothing for the probe to time"
            )
            return True
        if not roots or not all(self.probe.settled(pid) for pid in roots):
            return False
        if any(pid in self.probe.visits for pid in roots):
            self.run.manifest.depth = "probe"
        else:
            self.fall_back(
                next((self.probe.reports[pid].error for pid in roots), None), refused=True
            )
        self.run.write_manifest()
        return True

    def came(self) -> bool:
        """A probe has come by itself: torch has been imported somewhere."""
        assert self.probe is not None
        if not self.probe.visits:
            return False
        self.run.manifest.depth = "probe"
        self.run.write_manifest()
        return True

    def progress(self, elapsed_s: float) -> Progress:
        counter = self.probe.busiest() if self.probe else None
        stops = [report.stopped_ns for report in self.probe.reports.values()] if self.probe else []
        return Progress(
            elapsed_s,
            counter.steps if counter else 0,
            counter.mean_ms if counter else None,
            len(self.job.processes),
            stops[0] / 1e6 if stops else None,
            self.run.manifest.depth if self.settled else "entering",
        )

    def over(self, progress: Progress) -> str | None:
        """Why the recording ends now, None while it goes on."""
        plan = self.plan
        if self.asked_to_stop:
            return "stopped by the user"
        if self.run.stopped:
            return self.run.stopped
        if not self.tree.alive():
            return "the process ended"
        if plan.duration_s is not None:
            return (
                f"the asked {plan.duration_s:g} s"
                if progress.elapsed_s >= plan.duration_s
                else None
            )
        if plan.follow:
            return None
        windowed = self.kernels is None or self.kernels.settled
        steps = progress.steps - (self.kernels.spoiled if self.kernels is not None else 0)
        if steps >= ENOUGH_STEPS and progress.elapsed_s >= ENOUGH_S and windowed:
            return f"{steps} steps in {progress.elapsed_s:.0f} s are enough"
        if self.on_demand is not None and self.on_demand.settled and progress.elapsed_s >= ENOUGH_S:
            return "Kineto's window is there"
        if progress.elapsed_s >= plan.max_duration_s:
            return f"the longest allowed, {plan.max_duration_s:g} s"
        return None

    def refresh(self) -> None:
        """Who belongs to the job now; newcomers get a row, and another when it shows later what
        they are for.
        """
        self.job.processes = self.tree.refresh(self.job.said)
        for one in self.job.processes.values():
            row = self.job.row(one, self.probe.worker(one.pid) if self.probe is not None else -1)
            if self.known.get(one.process) != row:
                self.known[one.process] = row
                self.processes.append(row)
                self.identify(one)

    def identify(self, one: TargetProcess) -> None:
        """A launcher names the job to the ranks it starts, which we may have met before them."""
        said = job_identity(one.pid) if one.role == "main" and not self.plan.job else None
        if said is not None and said != self.run.manifest.job_id:
            self.run.manifest.job_id = said
            self.run.write_manifest()

    def pair_clocks(self) -> None:
        self.clock.append({"mono": time.monotonic_ns(), "real": time.time_ns()})

    def end(self, reason: str) -> None:
        """Stop the collectors, last started first, write down how each went, and close the
        folder.
        """
        for collector in reversed(self.running):
            self.stop(collector)
        for collector in self.to_stop:
            attempt(collector.stop)
        manifest = self.run.manifest
        manifest.sources = self.statuses
        manifest.agent_cpu_ns = self.cpu_use.used_ns()
        steps = (self.pair_clocks, self.run.flush, self.run.seal)
        failures = [one for one in map(attempt, steps) if isinstance(one, Failure)]
        manifest.finished, manifest.end_reason = True, self.run.stopped or reason
        failures += [one for one in [attempt(self.run.finish)] if isinstance(one, Failure)]
        self.problems += [
            f"the end of the recording was not written: {one.reason}" for one in failures
        ]

    def stop(self, collector: Collector) -> None:
        """Stop a collector and keep how it went."""
        status = attempt(collector.stop)
        if isinstance(status, Failure):
            self.report_failure(collector, status)
            if collector is self.probe:
                send_probes_away(self.probe)
        else:
            self.statuses.append(status)


def send_probes_away(probe: Probe) -> None:
    """Close every connection that a probe may hold, after a failure: a probe leaves when its
    connection ends.
    """
    callers = [*probe.lines.values(), *probe.strangers, *(one.line for one in probe.early)]
    for step in (
        *(line.close for line in callers),
        lambda: probe.socket.listening.close(),
        close_discarded,
    ):
        attempt(step)
    probe.lines.clear()


__all__ = ["FLUSH_NS", "Plan", "Progress", "Recorder"]
