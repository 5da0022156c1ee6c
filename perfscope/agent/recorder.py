"""Records one job from start to end: finds its processes, runs the collectors, decides when there is enough, leaves."""

import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfscope import __version__
from perfscope.agent.collector import Collector, Job, TargetProcess
from perfscope.agent.collectors import OUTSIDE, Kernels, Nvtx, OnDemand, Probe, Stacks
from perfscope.agent.collectors.on_demand import may_ask
from perfscope.agent.delivery.probe_socket import Door
from perfscope.agent.host.cgroup import memory_limit_bytes
from perfscope.agent.host.proc import command_line
from perfscope.agent.host.usable_cores import shm_bytes, usable_cores
from perfscope.agent.job.tree import Tree
from perfscope.agent.job_identity import job_identity, named
from perfscope.agent.profiler_windows.window import DEFAULT_WINDOW, Window
from perfscope.errors import CollectorUnavailable, NothingToCollect, PerfscopeError
from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import Manifest, SourceStatus
from perfscope.traces.secrets import mask_secrets

REFRESH_NS = 500_000_000
FLUSH_NS = 1_000_000_000
CLOCK_NS = 10_000_000_000
LONGEST_NAP_S = 0.1
ENOUGH_STEPS = 20
ENOUGH_S = 10.0


@dataclass(frozen=True)
class Plan:
    """What to record: `duration_s` None means until there are enough steps, at most `max_duration_s`.

    A `window` is taken at depth `kernels`. With a `door` the target was started by us, as `command`, or has started us: probes
    come to it by themselves. `job` names the job on all its hosts, where their launcher does not.
    """

    pid: int
    out: Path
    depth: str = "kernels"
    duration_s: float | None = None
    max_duration_s: float = 120.0
    all_ranks: bool = False
    follow: bool = False
    flush_ns: int = FLUSH_NS
    window: Window = DEFAULT_WINDOW
    door: Door | None = None
    nvtx_door: Door | None = None
    command: tuple[str, ...] = ()
    rank: int = -1
    job: str | None = None


@dataclass(frozen=True)
class Progress:
    """How it stands; `depth` is what was reached, or `entering`; `entered_ms` is how long the main thread was stopped."""

    elapsed_s: float
    steps: int
    step_ms: float | None
    processes: int
    entered_ms: float | None
    depth: str


class Recorder:
    """One recording. `record` blocks until it ends; `ask_to_stop` may be called from a signal handler."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tree = Tree(plan.pid, all_ranks=plan.all_ranks, ours=plan.door is not None, rank=plan.rank)
        self.run = RunWriter.create(plan.out, self.manifest())
        self.job = Job(self.run, plan.pid, look_again=self.refresh)
        self.processes = self.run.jsonl("processes", -1)
        self.clock = self.run.jsonl("clock", -1)
        self.probe: Probe | None = None
        self.kernels: Kernels | None = None
        self.on_demand: OnDemand | None = None
        self.running: list[Collector] = []
        self.statuses: list[SourceStatus] = []
        self.asked_to_stop = False
        self.known: dict[int, dict[str, object]] = {}
        self.settled = False

    def manifest(self) -> Manifest:
        pid = self.plan.pid
        return Manifest(
            job_id=named(self.plan.job) if self.plan.job else job_identity(pid) or uuid.uuid4().hex,
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

    def ask_to_stop(self) -> None:
        self.asked_to_stop = True

    def ask_for_window(self) -> None:
        """Take a window of torch's profiler now; may be called from any thread."""
        if self.kernels is not None:
            self.kernels.wanted_now = True

    def record(self, on_tick: Callable[[Progress], None]) -> Path:
        """The whole recording; returns the run folder. `on_tick` is called about once a second."""
        try:
            self.refresh()
            self.begin()
            reason = self.watch(on_tick)
        finally:
            self.end()
        manifest = self.run.manifest
        manifest.finished, manifest.end_reason = True, self.run.stopped or reason
        self.run.close()
        return self.plan.out

    def begin(self) -> None:
        """Start every collector; where the probe cannot enter, look from outside with stack samples."""
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
        try:
            collector.start(self.job)
        except NothingToCollect:
            return False
        except CollectorUnavailable as reason:
            self.statuses.append(SourceStatus(collector.NAME, "unavailable", str(reason)))
            return False
        self.running.append(collector)
        return True

    def fall_back(self, reason: str | None, *, refused: bool = False) -> None:
        """The target cannot be entered: say why and sample its stacks from outside; perhaps Kineto takes a window itself."""
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
            if now_ns >= refresh_ns:
                refresh_ns = now_ns + REFRESH_NS
                self.refresh()
            for collector in list(self.running):
                if now_ns >= due.get(id(collector), 0):
                    due[id(collector)] = collector.poll(now_ns)
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

    def settle(self) -> bool:
        """Once it is known whether the main process could be entered: the depth that was reached."""
        assert self.probe is not None
        if self.plan.door is not None:
            return self.came()
        roots = [one.pid for one in self.job.processes.values() if one.role == "main"]
        torchless = not any(one.has_torch for one in self.job.processes.values())
        if torchless:
            self.fall_back("the process has no torch loaded: there is nothing for the probe to time")
            return True
        if not roots or not all(self.probe.settled(pid) for pid in roots):
            return False
        if any(pid in self.probe.visits for pid in roots):
            self.run.manifest.depth = "probe"
        else:
            self.fall_back(next((self.probe.reports[pid].error for pid in roots), None), refused=True)
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
            return f"the asked {plan.duration_s:g} s" if progress.elapsed_s >= plan.duration_s else None
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
        """Who belongs to the job now; newcomers get a row, and another when it shows later what they are for."""
        self.job.processes = self.tree.refresh(self.job.said)
        for one in self.job.processes.values():
            row = self.row(one)
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

    def row(self, one: TargetProcess) -> dict[str, object]:
        parent = self.job.processes.get(one.parent)
        manifest = self.run.manifest
        return {
            "process": one.process,
            "host": manifest.host,
            "boot_id": manifest.boot_id,
            "pid": one.pid,
            "ns_pid": one.ns_pid,
            "start_ticks": one.start_ticks,
            "parent": parent.process if parent else -1,
            "role": one.role,
            "rank": one.rank,
            "local_rank": one.local_rank,
            "worker": self.probe.worker(one.pid) if self.probe is not None else -1,
            "name": one.name,
        }

    def pair_clocks(self) -> None:
        self.clock.append({"mono": time.monotonic_ns(), "real": time.time_ns()})

    def end(self) -> None:
        """Stop the collectors, last started first, and write down how each went."""
        for collector in reversed(self.running):
            self.statuses.append(collector.stop())
        self.pair_clocks()
        self.run.manifest.sources = self.statuses
        self.run.flush()


def record(plan: Plan, on_tick: Callable[[Progress], None]) -> Path:
    """Record and return the run folder. Raises PerfscopeError when the job cannot be recorded at all."""
    return Recorder(plan).record(on_tick)


__all__ = ["PerfscopeError", "Plan", "Progress", "Recorder", "record"]
