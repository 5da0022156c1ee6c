"""The metrics page of the inference engine that the target belongs to, once per second.

A child process with the rights of the target's user sends the requests (`agent/engine_metrics`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfscope.agent.collector import Collector, Job
from perfscope.agent.engine_metrics.address import PageAddress, parse_page_address
from perfscope.agent.engine_metrics.engine_process import EngineProcess, find_engine, page_of
from perfscope.agent.engine_metrics.page_reader import PageReader, pace_of_recording
from perfscope.agent.engine_metrics.readings_writer import NAME, ReadingsWriter, WatchedPage
from perfscope.agent.target_user.rights import TargetUser, user_of
from perfscope.errors import CollectorUnavailable, NothingToCollect
from perfscope.traces.run_folder.manifest import SourceStatus

if TYPE_CHECKING:
    from perfscope.agent.recording.recording_plan import Plan


class EngineMetrics(Collector):
    """Reads the page of the target's engine, and the pages that the user names."""

    NAME = NAME
    PERIOD_NS = 250_000_000

    def __init__(
        self, urls: Sequence[str] = (), *, wanted: bool = True, duration_s: float | None = None
    ) -> None:
        self.addresses = [parse_page_address(url) for url in urls]
        self.wanted = wanted
        self.pace = pace_of_recording(duration_s)
        self.user: TargetUser | None = None
        self.writer: ReadingsWriter | None = None

    @classmethod
    def create(cls, plan: "Plan", running: Sequence[Collector]) -> "EngineMetrics":
        return cls(plan.metrics_urls, wanted=plan.wants_metrics, duration_s=plan.duration_s)

    def start(self, job: Job) -> None:
        """Raises NothingToCollect where no engine is recognized and no page is named."""
        engine = find_engine(job.root_pid) if self.wanted else None
        if not self.wanted or (engine is None and not self.addresses):
            raise NothingToCollect
        self.job = job
        try:
            self.user = user_of(job.root_pid)
        except OSError:
            raise CollectorUnavailable("the process has ended") from None
        addresses = self.addresses or [self.found_page(engine)]
        pages = [self.watched(server, address, engine) for server, address in enumerate(addresses)]
        self.writer = ReadingsWriter(job.run, pages)
        for page in pages:
            page.reader.start()

    def found_page(self, engine: EngineProcess | None) -> PageAddress:
        """Return the address of the recognized engine's page. Raises CollectorUnavailable."""
        assert engine is not None
        found = page_of(engine)
        if isinstance(found, PageAddress):
            return found
        missing = engine.engine.missing_option
        raise CollectorUnavailable(
            f"its metrics are off; start the engine with {missing}" if missing else found
        )

    def watched(
        self, server: int, address: PageAddress, engine: EngineProcess | None
    ) -> WatchedPage:
        """Return a page to read; the first one has the settings of the recognized engine."""
        reader = PageReader(address, self.user, self.pace)
        if engine is None or server > 0:
            return WatchedPage(server, reader)
        target = self.job.processes.get(engine.pid)
        root = self.job.processes.get(self.job.root_pid)
        known = target or root
        process = known.process if known is not None else -1
        return WatchedPage(server, reader, process, engine.engine.settings)

    @property
    def readings(self) -> int:
        """How often the page that was read least has been read."""
        return 0 if self.writer is None else self.writer.readings

    def poll(self, now_ns: int) -> int:
        assert self.writer is not None
        self.writer.take()
        return now_ns + self.PERIOD_NS

    def stop(self) -> SourceStatus:
        """End the readers; write what they have sent."""
        assert self.writer is not None
        status = self.writer.stop()
        self.release()
        return status

    def abandon(self) -> None:
        """End the readers after a failure."""
        if self.writer is not None:
            for page in self.writer.pages:
                page.reader.stop()
        self.release()

    def release(self) -> None:
        """Close the root directory of the target's user."""
        if self.user is not None:
            self.user.close()
            self.user = None
