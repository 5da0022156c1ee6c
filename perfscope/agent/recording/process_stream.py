"""The stream `processes`: which processes belong to the job, and their roles."""

from perfscope.agent.collector import Job, TargetProcess
from perfscope.agent.collectors import Probes
from perfscope.agent.job.job_identity import job_identity
from perfscope.agent.job.process_tree import JobTree


class ProcessStream:
    """Keeps `Job.processes` up to date and writes each change to the stream."""

    def __init__(self, job: Job, tree: JobTree, *, job_is_named: bool) -> None:
        self.job, self.tree, self.job_is_named = job, tree, job_is_named
        self.stream = job.run.jsonl("processes", -1)
        self.written: dict[int, dict[str, object]] = {}
        """The last row of each process."""

    def refresh(self, probes: Probes | None) -> None:
        """Find the living processes; write a row for each new one, and for each that changed."""
        self.job.processes = self.tree.refresh(self.job.reported_roles, self.job.trained_ns)
        for process in self.job.processes.values():
            worker = probes.worker(process.pid) if probes is not None else -1
            row = self.job.row(process, worker)
            if self.written.get(process.process) != row:
                self.written[process.process] = row
                self.stream.append(row)
                self.update_job_id(process)

    def update_job_id(self, process: TargetProcess) -> None:
        """Take over the job id from a rank: a launcher gives it to its ranks, not to itself."""
        if process.role != "main" or self.job_is_named:
            return
        job_id = job_identity(process.pid)
        manifest = self.job.run.manifest
        if job_id is not None and job_id != manifest.job_id:
            manifest.job_id = job_id
            self.job.run.write_manifest()
