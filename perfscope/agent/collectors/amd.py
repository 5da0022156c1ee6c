"""Counters of this host's AMD devices, where `amdsmi` is installed: the same streams as of
NVIDIA's.
"""

import os
import time

from perfscope.agent.amd import AmdWatch, Smi
from perfscope.agent.collector import Collector, Job
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run.manifest import SourceStatus

LAST_WAIT_S = 1.0
DRIVER = "/dev/kfd"


class Amd(Collector):
    """The collector: takes what its thread has read."""

    NAME = "amdsmi"
    PERIOD_NS = 500_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where no AMD device can be read, NothingToCollect where their
        driver is not loaded.
        """
        self.job = job
        try:
            self.watch = AmdWatch(Smi(), lambda: job.processes)
        except CollectorUnavailable as reason:
            if os.path.exists(DRIVER):
                raise
            raise NothingToCollect(str(reason)) from None
        if job.run.manifest.devices:
            raise CollectorUnavailable(
                "devices of two makers in one host are not told apart yet: NVIDIA's are read"
            )
        job.run.manifest.devices = self.watch.facts
        self.began_ns = time.monotonic_ns()
        self.watch.thread.start()

    def poll(self, now_ns: int) -> int:
        """Raises StepFailed when the thread has failed."""
        for name, rows in (
            ("device.counters", self.watch.counters),
            ("device.processes", self.watch.processes),
        ):
            while rows:
                self.job.run.jsonl(name, -1).append(rows.pop(0))
        self.watch.thread.raise_failure()
        return now_ns + self.PERIOD_NS

    def stop(self) -> SourceStatus:
        self.watch.ended.set()
        self.watch.thread.join(LAST_WAIT_S)
        self.poll(time.monotonic_ns())
        share = self.watch.busy_ns / max(time.monotonic_ns() - self.began_ns, 1)
        return SourceStatus(
            self.NAME,
            "partial",
            "never tried on an AMD device; what it does not read: docs/devices.md",
            share,
        )
