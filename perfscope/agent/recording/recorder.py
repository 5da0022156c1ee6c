"""Records one job from start to end.

The recorder finds the processes of the job, runs the collectors, and ends the recording when there
is enough evidence. Each step of a collector, and of the recorder itself, is guarded
(`collector_guard`), so that a recording always ends with a readable run folder.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.collector import Collector, Job
from perfscope.agent.collector_guard import Failure, attempt, short_reason
from perfscope.agent.collectors import COLLECTORS, Kernels
from perfscope.agent.job.process_tree import JobTree
from perfscope.agent.overhead.cpu_use import CpuUse
from perfscope.agent.overhead.idle_priority import lower_priority
from perfscope.agent.probe.counting_blocks import next_block
from perfscope.agent.recording.collector_runner import CollectorRunner
from perfscope.agent.recording.end_of_recording import reason_to_end
from perfscope.agent.recording.process_stream import ProcessStream
from perfscope.agent.recording.reached_depth import ReachedDepth
from perfscope.agent.recording.recording_manifest import create_manifest
from perfscope.agent.recording.recording_plan import FLUSH_NS, Plan, Progress
from perfscope.errors import PerfscopeError
from perfscope.traces.run_folder.folder import RunWriter

REFRESH_NS = 500_000_000
END_CHECK_NS = 200_000_000
CLOCK_NS = 10_000_000_000
LONGEST_SLEEP_S = 0.1
SHORTEST_SLEEP_S = 0.001


@dataclass
class Period:
    """A deadline that recurs."""

    period_ns: int
    due_ns: int = 0

    def is_due(self, now_ns: int) -> bool:
        """Return whether the deadline has passed; if so, the next one is one period from now."""
        if now_ns < self.due_ns:
            return False
        self.due_ns = now_ns + self.period_ns
        return True


class Recorder:
    """One recording.

    `record` blocks until it ends. `ask_to_stop` may be called from a signal handler, and
    `ask_for_window` from any thread.
    """

    def __init__(self, plan: Plan, listed: Sequence[type[Collector]] = COLLECTORS) -> None:
        self.plan = plan
        is_ours = plan.probe_socket is not None
        self.tree = JobTree(plan.pid, all_ranks=plan.all_ranks, is_ours=is_ours, rank=plan.rank)
        self.run = RunWriter.create(plan.out, create_manifest(plan, self.tree.tops))
        self.job = Job(self.run, plan.pid, refresh=self.refresh)
        self.processes = ProcessStream(self.job, self.tree, job_is_named=bool(plan.job))
        self.clock = self.run.jsonl("clock", -1)
        self.collectors = CollectorRunner(plan, self.job, listed)
        self.depth = ReachedDepth(plan, self.job, self.collectors)
        self.problems = self.collectors.problems
        """One line per problem, for the user."""
        self.asked_to_stop = False
        self.cpu_use = CpuUse()

    def ask_to_stop(self) -> None:
        """End the recording at the next occasion."""
        self.asked_to_stop = True

    def ask_for_window(self) -> None:
        """Take a profiling window now, where a probe can take one."""
        kernels = self.collectors.find(Kernels)
        if kernels is not None:
            kernels.wanted_now = True

    def record(self, on_tick: Callable[[Progress], None]) -> Path:
        """Record, and return where the run folder is. `on_tick` is called about once per second.

        Raises PerfscopeError when the folder was deleted or moved out of reach. Any other failure
        ends one collector, or the recording, and is added to `problems`.
        """
        reason = "interrupted"
        try:
            ended = attempt(lambda: self.begin_and_watch(on_tick))
            reason = self.report_early_end(ended) if isinstance(ended, Failure) else ended
        finally:
            self.end(reason)
        return self.close_and_locate()

    def begin_and_watch(self, on_tick: Callable[[Progress], None]) -> str:
        """Start the collectors and watch them; return why the recording ended."""
        self.refresh()
        self.collectors.start_listed()
        if self.plan.low_priority:
            lower_priority()
        return self.watch(on_tick)

    def report_early_end(self, failure: Failure) -> str:
        """Add a failed step of the recorder to `problems`; return why the recording ended."""
        self.problems.append(
            f"the recording ended early: {failure.reason}; everything recorded until then is kept"
        )
        return f"the recorder failed: {failure.reason}"

    def watch(self, on_tick: Callable[[Progress], None]) -> str:
        """Run everything that is due until the recording ends; return why it ended."""
        began_ns = time.monotonic_ns()
        refresh = Period(REFRESH_NS, began_ns)
        clock = Period(CLOCK_NS)
        flush = Period(self.plan.flush_ns, began_ns)
        tick = Period(FLUSH_NS, began_ns)
        end_check = Period(END_CHECK_NS)
        self.depth.is_known = self.collectors.probes not in self.collectors.running
        while True:
            now_ns = time.monotonic_ns()
            if self.sleep_while_probes_count(now_ns):
                continue
            if refresh.is_due(now_ns):
                self.refresh()
            self.collectors.poll_due(now_ns)
            self.depth.update()
            if clock.is_due(now_ns):
                self.pair_clocks()
            if flush.is_due(now_ns):
                self.run.flush()
            progress = self.progress((now_ns - began_ns) / 1e9)
            reason = self.reason_to_end(progress)
            if not reason and end_check.is_due(now_ns) and not self.tree.alive():
                reason = "the process ended"
            if reason:
                return reason
            if tick.is_due(now_ns):
                on_tick(progress)
            self.sleep_until_due(refresh.due_ns)

    def sleep_until_due(self, refresh_ns: int) -> None:
        """Sleep until a collector or the next refresh is due, for LONGEST_SLEEP_S at most."""
        collector_ns = self.collectors.next_poll_ns()
        due_ns = refresh_ns if collector_ns is None else min(refresh_ns, collector_ns)
        sleep_s = (due_ns - time.monotonic_ns()) / 1e9
        time.sleep(min(max(sleep_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S))

    def sleep_while_probes_count(self, now_ns: int) -> bool:
        """Sleep to the end of a block in which the probes only count steps; return whether `now_ns`
        is in one.

        An entry or exit that is under way in a target is not delayed.
        """
        probes = self.collectors.probes
        if probes is None or not probes.sessions or probes.entering or self.asked_to_stop:
            return False
        begin_ns, end_ns = next_block(now_ns, self.run.manifest.zero_monotonic_ns)
        if now_ns < begin_ns:
            return False
        time.sleep((end_ns - now_ns) / 1e9)
        return True

    def progress(self, elapsed_s: float) -> Progress:
        """Return the progress after `elapsed_s`."""
        probes = self.collectors.probes
        counter = probes.busiest() if probes else None
        stops_ns = [report.stopped_ns for report in probes.reports.values()] if probes else []
        return Progress(
            elapsed_s=elapsed_s,
            steps=counter.steps if counter else 0,
            step_ms=counter.mean_ms if counter else None,
            processes=len(self.job.processes),
            entered_ms=stops_ns[0] / 1e6 if stops_ns else None,
            depth=self.run.manifest.depth if self.depth.is_known else "entering",
            requests=probes.answered_requests() if probes else 0,
        )

    def reason_to_end(self, progress: Progress) -> str | None:
        """Return why the recording ends now, None while it goes on."""
        if self.asked_to_stop:
            return "stopped by the user"
        if self.run.stopped:
            return self.run.stopped
        return reason_to_end(self.plan, progress, self.collectors)

    def refresh(self) -> None:
        """Find the processes of the job."""
        self.processes.refresh(self.collectors.probes)

    def pair_clocks(self) -> None:
        """Record CLOCK_MONOTONIC and CLOCK_REALTIME at one moment."""
        self.clock.append({"mono": time.monotonic_ns(), "real": time.time_ns()})

    def end(self, reason: str) -> None:
        """Stop the collectors, write the status of each source, and finish the run folder."""
        self.collectors.stop_all()
        manifest = self.run.manifest
        manifest.sources = self.collectors.statuses
        manifest.agent_cpu_ns = self.cpu_use.used_ns()
        results = [attempt(step) for step in (self.pair_clocks, self.run.flush, self.run.seal)]
        manifest.finished, manifest.end_reason = True, self.run.stopped or reason
        results.append(attempt(self.run.finish))
        for result in results:
            if isinstance(result, Failure):
                self.problems.append(f"the end of the recording was not written: {result.reason}")

    def close_and_locate(self) -> Path:
        """Close the run folder and return where it is now; it may have been moved.

        Raises PerfscopeError where it was deleted or moved out of reach.
        """
        path, held = self.plan.out, self.run.held
        try:
            if held.is_deleted():
                raise PerfscopeError(f"the run folder {path} was deleted during the recording")
            moved_to = path if held.is_at(path) else held.location()
        finally:
            self.run.close_folders()
        if moved_to is None:
            raise PerfscopeError(
                f"the run folder {path} was moved during the recording, to a place that perfscope"
                " cannot reach"
            )
        if moved_to != path:
            problem = f"{path} was moved during the recording; the run folder is now {moved_to}"
            self.problems.append(short_reason(problem))
        return moved_to


__all__ = ["FLUSH_NS", "Plan", "Progress", "Recorder"]
