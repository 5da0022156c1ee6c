"""Counters of the host's AMD devices, where `amdsmi` is installed.

They are written to the same streams as those of NVIDIA devices.
"""

import os
import time

from perfscope.agent.amd_devices import AmdSmi, AmdWatch
from perfscope.agent.collector import Collector, Job
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run_folder.manifest import SourceStatus

LAST_WAIT_S = 1.0
DRIVER = "/dev/kfd"


class Amd(Collector):
    """Writes down what the reading thread of `agent.amd` has read."""

    NAME = "amdsmi"
    PERIOD_NS = 500_000_000

    def start(self, job: Job) -> None:
        """Raises NothingToCollect where the AMD driver is not loaded, CollectorUnavailable where
        its devices cannot be read.
        """
        self.job = job
        try:
            self.watch = AmdWatch(AmdSmi(), lambda: job.processes)
        except CollectorUnavailable as reason:
            if os.path.exists(DRIVER):
                raise
            raise NothingToCollect(str(reason)) from None
        if job.run.manifest.devices:
            raise CollectorUnavailable(
                "AMD devices together with NVIDIA devices are not supported yet; only NVIDIA's are"
                " read"
            )
        job.run.manifest.devices = self.watch.facts
        self.began_ns = time.monotonic_ns()
        self.watch.thread.start()

    def poll(self, now_ns: int) -> int:
        """Raises StepFailed when the thread has failed."""
        streams = (
            ("device.counters", self.watch.counters),
            ("device.processes", self.watch.processes),
        )
        for name, rows in streams:
            while rows:
                self.job.run.jsonl(name, -1).append(rows.pop(0))
        self.watch.thread.raise_failure()
        return now_ns + self.PERIOD_NS

    def stop(self) -> SourceStatus:
        self.watch.ended.set()
        self.watch.thread.join(LAST_WAIT_S)
        self.poll(time.monotonic_ns())
        share = self.watch.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)
        reason = "never tested on an AMD device; docs/devices.md lists the counters it lacks"
        return SourceStatus(self.NAME, "partial", reason, share)
