"""Counters of this host's NVIDIA devices, and who uses them: streams "device.counters",
"device.processes", "device.gaps".
"""

from perfscope.agent.collector import Collector, Job
from perfscope.agent.nvml.bindings import check
from perfscope.traces.run.manifest import SourceStatus

LAST_WAIT_S = 1.0


class Nvml(Collector):
    """The collector: takes what its threads have read. It enters nothing, so it runs at every
    depth.
    """

    NAME = "nvml"
    PERIOD_NS = 200_000_000

    def start(self, job: Job) -> None:
        """Raises CollectorUnavailable where there are no usable bindings, no driver, no device, or
        no answer.
        """
        check()  # before what imports them
        from perfscope.agent.nvml.door import opened
        from perfscope.agent.nvml.watch import Throughput, Watch

        self.job = job
        self.watch = Watch(job, opened())
        self.throughput = Throughput(self.watch)
        self.told = False
        self.gaps: list[str] = []
        self.watch.thread.start()
        self.throughput.thread.start()

    def poll(self, now_ns: int) -> int:
        """Raises StepFailed when one of the threads has failed."""
        self.write_down()
        self.raise_failures()
        if not self.told and self.watch.ready.is_set():
            self.told = True
            self.tell()
        return now_ns + self.PERIOD_NS

    def raise_failures(self) -> None:
        for thread in (self.watch.thread, self.throughput.thread):
            thread.raise_failure()

    def write_down(self) -> None:
        """What the threads have read; the streams are written by the recorder's thread only."""
        self.gaps += [f"{where(row['device'])}: {row['reason']}" for row in self.watch.gaps]
        streams = (
            ("device.counters", self.watch.counters),
            ("device.processes", self.watch.processes),
            ("device.gaps", self.watch.gaps),
        )
        for name, rows in streams:
            if rows:
                stream = self.job.run.jsonl(name, -1)
                while rows:
                    stream.append(rows.pop(0))

    def tell(self) -> None:
        """The devices into the manifest."""
        manifest = self.job.run.manifest
        manifest.devices = [card.facts for card in self.watch.cards]
        manifest.device_sampling = self.watch.sampling()
        self.job.run.write_manifest()

    def stop(self) -> SourceStatus:
        answered = self.watch.end(LAST_WAIT_S)
        self.throughput.thread.join(LAST_WAIT_S)
        self.write_down()
        self.tell()
        self.raise_failures()
        sampling = self.watch.sampling()
        share = None if sampling is None else sampling.core_share
        if not answered:
            return SourceStatus(
                self.NAME, "failed", "the driver does not answer: a call hangs", share
            )
        refused = {
            f"no permission for {name}"
            for card in self.watch.cards
            for name, why in card.facts.missing.items()
            if "permission" in why
        }
        slowed = [one.pace.slowed for one in self.watch.rounds[:1] if one.pace.slowed]
        silent = [
            f"device {at} did not answer from the start: {why}"
            for at, why in self.watch.silent.items()
        ]
        if silent and not self.watch.cards:
            return SourceStatus(self.NAME, "failed", "; ".join(silent), share)
        reasons = [*silent, *dict.fromkeys(self.gaps), *sorted(refused), *slowed]
        return SourceStatus(
            self.NAME, "partial" if reasons else "ok", "; ".join(reasons) or None, share
        )


def where(device: int) -> str:
    return "all devices" if device < 0 else f"device {device}"
