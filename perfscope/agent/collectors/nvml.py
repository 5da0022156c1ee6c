"""Counters of the host's NVIDIA devices and the processes that use them.

Streams "device.counters", "device.processes" and "device.gaps".
"""

from perfscope.agent.collector import Collector, Job
from perfscope.agent.nvml.bindings import check_bindings
from perfscope.traces.run_folder.manifest import SourceStatus

LAST_WAIT_S = 1.0


class Nvml(Collector):
    """Writes down what the reading threads of `agent.nvml` have read.

    It enters no process, so it runs at every depth.
    """

    NAME = "nvml"
    PERIOD_NS = 200_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where there are no usable bindings, no driver, no device, or
        no answer.
        """
        check_bindings()
        # These import the driver's bindings, which `check_bindings` has found usable.
        from perfscope.agent.nvml.device_watch import DeviceWatch
        from perfscope.agent.nvml.pcie_throughput import PcieThroughput
        from perfscope.agent.nvml.session import open_nvml

        self.job = job
        self.watch = DeviceWatch(job, open_nvml())
        self.throughput = PcieThroughput(self.watch)
        self.devices_written = False
        self.gaps: list[str] = []
        self.watch.thread.start()
        self.throughput.thread.start()

    def poll(self, now_ns: int) -> int:
        """Raises StepFailed when one of the threads has failed."""
        self.write_rows()
        self.raise_failures()
        if not self.devices_written and self.watch.ready.is_set():
            self.devices_written = True
            self.write_devices()
        return now_ns + self.PERIOD_NS

    def raise_failures(self) -> None:
        """Raise StepFailed when one of the threads has failed."""
        for thread in (self.watch.thread, self.throughput.thread):
            thread.raise_failure()

    def write_rows(self) -> None:
        """Write the rows that the threads have read; only this thread may write to streams."""
        for row in self.watch.gaps:
            device = "all devices" if row["device"] < 0 else f"device {row['device']}"
            self.gaps.append(f"{device}: {row['reason']}")
        streams = (
            ("device.counters", self.watch.counters),
            ("device.processes", self.watch.processes),
            ("device.gaps", self.watch.gaps),
        )
        for name, rows in streams:
            if not rows:
                continue
            stream = self.job.run.jsonl(name, -1)
            while rows:
                stream.append(rows.pop(0))

    def write_devices(self) -> None:
        """Write the facts of the devices to the manifest."""
        manifest = self.job.run.manifest
        manifest.devices = [device.facts for device in self.watch.devices]
        manifest.device_sampling = self.watch.sampling()
        self.job.run.write_manifest()

    def stop(self) -> SourceStatus:
        """Raises StepFailed when one of the threads has failed."""
        has_ended = self.watch.end(LAST_WAIT_S)
        self.throughput.thread.join(LAST_WAIT_S)
        self.write_rows()
        self.write_devices()
        self.raise_failures()
        sampling = self.watch.sampling()
        share = None if sampling is None else sampling.core_share
        if not has_ended:
            reason = "the driver does not answer: a call hangs"
            return SourceStatus(self.NAME, "failed", reason, share)
        unanswered = [
            f"device {number} did not answer from the start: {reason}"
            for number, reason in self.watch.unanswered.items()
        ]
        if unanswered and not self.watch.devices:
            return SourceStatus(self.NAME, "failed", "; ".join(unanswered), share)
        gaps = list(dict.fromkeys(self.gaps))
        reasons = [*unanswered, *gaps, *self.missing_permissions()]
        slowdown = self.watch.quick_round.pace.slowdown
        if slowdown is not None:
            reasons.append(slowdown)
        status = "partial" if reasons else "ok"
        return SourceStatus(self.NAME, status, "; ".join(reasons) or None, share)

    def missing_permissions(self) -> list[str]:
        """Return one line per counter that the driver does not let this user read."""
        names = {
            name
            for device in self.watch.devices
            for name, reason in device.facts.missing.items()
            if "permission" in reason
        }
        return [f"no permission for {name}" for name in sorted(names)]
