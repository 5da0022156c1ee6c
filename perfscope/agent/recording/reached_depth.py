"""The depth that a recording reaches, known once the entry into the main processes has ended."""

from perfscope.agent.collector import Job
from perfscope.agent.collectors import Probes
from perfscope.agent.recording.collector_runner import CollectorRunner
from perfscope.agent.recording.recording_plan import Plan

NO_TORCH = "the process has not loaded torch: a probe would have nothing to time"


class ReachedDepth:
    """The depth of one recording. `is_known` becomes true once, and stays true."""

    def __init__(self, plan: Plan, job: Job, collectors: CollectorRunner) -> None:
        self.plan, self.job, self.collectors = plan, job, collectors
        self.is_known = False

    def update(self) -> None:
        """Write the depth to the manifest if it has become known.

        Where no process could be entered, start the collectors that need no probe.
        """
        if self.is_known:
            return
        probes = self.collectors.find(Probes)
        if probes is None:
            self.is_known = True
            self.go_on_without_probe(self.collectors.probes_failure)
        elif self.plan.probe_socket is not None:
            self.is_known = self.check_connected(probes)
        else:
            self.is_known = self.check_entered(probes)

    def check_connected(self, probes: Probes) -> bool:
        """Return whether a probe that started with its process connected; write the depth then."""
        if not probes.sessions:
            return False
        self.write_depth("probe")
        return True

    def check_entered(self, probes: Probes) -> bool:
        """Return whether each entry into a main process has ended; write the depth then."""
        processes = self.job.processes.values()
        if not any(process.has_torch for process in processes):
            self.go_on_without_probe(NO_TORCH)
            return True
        mains = [process.pid for process in processes if process.role == "main"]
        if not mains or not all(probes.has_entry_ended(pid) for pid in mains):
            return False
        if any(pid in probes.sessions for pid in mains):
            self.write_depth("probe")
        else:
            self.go_on_without_probe(probes.reports[mains[0]].error, refused=True)
            self.job.run.write_manifest()
        return True

    def write_depth(self, depth: str) -> None:
        """Write a depth to the manifest."""
        self.job.run.manifest.depth = depth
        self.job.run.write_manifest()

    def go_on_without_probe(self, reason: str | None, *, refused: bool = False) -> None:
        """Record why there is no probe, and start the collectors that need none."""
        self.collectors.record_missing_probe(reason, refused=refused)
        self.collectors.start_listed()
