"""Starts, polls and stops the listed collectors; a failure ends one collector, never the others."""

from collections.abc import Sequence
from typing import TypeVar

from perfscope.agent.collector import Collector, Job, Need
from perfscope.agent.collector_guard import Failure, attempt
from perfscope.agent.collectors import COLLECTORS, Probes
from perfscope.agent.collectors.kineto_on_demand import may_ask_for_windows
from perfscope.agent.recording.recording_plan import Plan
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run_folder.manifest import SourceStatus

NEXT_POLL_AFTER_FAILURE_NS = 500_000_000
LATE_SHARE = 4
"""A poll may be late by its period divided by this: polls that come together wake the agent, which
takes a core from the target, less often.
"""

Kind = TypeVar("Kind", bound=Collector)


class CollectorRunner:
    """The collectors of one recording, and the status of each source."""

    def __init__(
        self, plan: Plan, job: Job, listed: Sequence[type[Collector]] = COLLECTORS
    ) -> None:
        self.plan, self.job = plan, job
        self.not_started: list[type[Collector]] = list(listed)
        self.running: list[Collector] = []
        self.to_stop_last: list[Collector] = []
        """Failed collectors whose `stop` may wait."""
        self.due_ns: dict[int, int] = {}
        """When to poll a collector next, by its `id`."""
        self.latest_ns: dict[int, int] = {}
        """When it must have been polled, by its `id`."""
        self.statuses: list[SourceStatus] = []
        self.problems: list[str] = []
        """One line per problem, for the user."""
        self.probes: Probes | None = None
        """The collector of the probes, also when it has ended."""
        self.probes_failure: str | None = None
        self.conditions = initial_conditions(plan)

    def start_listed(self) -> None:
        """Start each listed collector that has not been started yet and whose needs hold now."""
        for collector_class in list(self.not_started):
            missing = collector_class.NEEDS - self.conditions
            if Need.ENTRY_WANTED in missing:
                self.not_started.remove(collector_class)
                reason = "not requested: depth observe"
                self.statuses.append(SourceStatus(collector_class.NAME, "off", reason))
            elif not missing:
                self.not_started.remove(collector_class)
                self.start(collector_class.create(self.plan, self.running))

    def start(self, collector: Collector) -> None:
        """Start a collector; where that fails, keep the reason as its status."""
        self.running = [other for other in self.running if other.NAME != collector.NAME]
        started = attempt(lambda: self.try_start(collector))
        if isinstance(started, Failure):
            self.drop(collector, started)
        elif started:
            self.running.append(collector)
        if isinstance(collector, Probes):
            self.probes = collector
            if started is True:
                self.conditions.add(Need.PROBE_RUNNING)
            else:
                self.record_missing_probe(self.statuses[-1].reason, refused=True)

    def try_start(self, collector: Collector) -> bool:
        """Start a collector and return whether it runs."""
        try:
            collector.start(self.job)
        except NothingToCollect:
            return False
        except CollectorUnavailable as reason:
            self.statuses.append(SourceStatus(collector.NAME, "unavailable", str(reason)))
            return False
        return True

    def record_missing_probe(self, reason: str | None, *, refused: bool = False) -> None:
        """Note that no process will be entered, and why.

        This allows the collectors that need no probe; `start_listed` starts them. `refused`: a
        process with torch could not be entered. Kineto may then still record a window itself.
        """
        self.job.run.manifest.depth_reason = reason
        self.conditions.add(Need.NO_PROBE)
        if not refused:
            return
        self.conditions.add(Need.ENTRY_REFUSED)
        if Need.WINDOWS_WANTED in self.conditions and may_ask_for_windows(self.plan.pid):
            self.conditions.add(Need.KINETO_DAEMON)

    def find(self, kind: type[Kind]) -> Kind | None:
        """Return the running collector of this class, None where there is none."""
        for collector in self.running:
            if isinstance(collector, kind):
                return collector
        return None

    def poll_due(self, now_ns: int) -> None:
        """Poll each running collector that is due."""
        for collector in list(self.running):
            is_due = now_ns >= self.due_ns.get(id(collector), 0)
            if is_due and collector in self.running:
                due_ns = self.poll(collector, now_ns)
                self.due_ns[id(collector)] = due_ns
                self.latest_ns[id(collector)] = due_ns + max(due_ns - now_ns, 0) // LATE_SHARE

    def poll(self, collector: Collector, now_ns: int) -> int:
        """Poll a collector and return when it is due again (ns); drop it if it fails."""
        due_ns = attempt(lambda: int(collector.poll(now_ns)))
        if isinstance(due_ns, Failure):
            self.drop(collector, due_ns)
            return now_ns + NEXT_POLL_AFTER_FAILURE_NS
        return due_ns

    def next_poll_ns(self) -> int | None:
        """Return the instant (ns) until which a collector must be polled, None if none runs."""
        latest_ns = [self.latest_ns.get(id(collector), 0) for collector in self.running]
        return min(latest_ns, default=None)

    def drop(self, collector: Collector, failure: Failure) -> None:
        """End one collector after a failure, and those that need it."""
        if collector in self.running:
            self.running.remove(collector)
        self.report_failure(collector, failure)
        if collector.STOPS_SLOWLY:
            self.to_stop_last.append(collector)
            return
        attempt(collector.stop)
        attempt(collector.abandon)
        if isinstance(collector, Probes):
            self.probes_failure = failure.reason
            self.conditions.discard(Need.PROBE_RUNNING)
            self.stop_those_that_need(Need.PROBE_RUNNING)

    def report_failure(self, collector: Collector, failure: Failure) -> None:
        """Keep a failure as the status of the source, and as a problem for the user."""
        self.statuses.append(SourceStatus(collector.NAME, "failed", failure.reason))
        self.problems.append(
            f"source {collector.NAME} failed: {failure.reason}; the other sources continued"
        )

    def stop_those_that_need(self, need: Need) -> None:
        """Stop the running collectors that need a condition which no longer holds."""
        for collector in [other for other in self.running if need in other.NEEDS]:
            self.running.remove(collector)
            self.stop(collector)

    def stop(self, collector: Collector) -> None:
        """Stop a collector and keep its status."""
        status = attempt(collector.stop)
        if isinstance(status, Failure):
            self.report_failure(collector, status)
            attempt(collector.abandon)
        else:
            self.statuses.append(status)

    def stop_all(self) -> None:
        """Stop all collectors, in reverse order of their start."""
        for collector in reversed(self.running):
            self.stop(collector)
        for collector in self.to_stop_last:
            attempt(collector.stop)


def initial_conditions(plan: Plan) -> set[Need]:
    """Return the conditions that hold when a recording begins."""
    conditions: set[Need] = set()
    if plan.depth == "observe":
        conditions.add(Need.NO_PROBE)
    else:
        conditions.add(Need.ENTRY_WANTED)
    if plan.depth == "kernels":
        conditions.add(Need.WINDOWS_WANTED)
    if plan.nvtx_socket is not None:
        conditions.add(Need.NVTX_SOCKET)
    return conditions
