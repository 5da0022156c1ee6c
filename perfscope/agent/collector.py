"""What a collector is, and what it is given: one source of evidence, one file in `collectors/`, one
line in its tuple.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from perfscope.traces.run.folder import RunWriter
from perfscope.traces.run.manifest import SourceStatus


@dataclass(frozen=True)
class TargetProcess:
    """One process of the job; `start_ticks` tells it from a later process with the same pid."""

    process: int
    pid: int
    ns_pid: int
    start_ticks: int
    parent: int
    role: str
    rank: int
    local_rank: int
    name: str
    is_python: bool
    has_torch: bool


@dataclass
class Job:
    """What is being recorded: `processes` (by pid, living ones) is kept up to date by the recorder
    while it runs.
    """

    run: RunWriter
    root_pid: int
    processes: dict[int, TargetProcess] = field(default_factory=dict)
    said: dict[int, str] = field(default_factory=dict)
    """What processes that multiprocessing started have said they are, by pid: `main` (a rank) or
    `loader-worker`.
    """
    look_again: Callable[[], None] = lambda: None

    def row(self, one: TargetProcess, worker: int) -> dict[str, object]:
        """Return the row of the stream `processes`; `worker` is the loader worker that it is, -1
        for none.
        """
        parent, manifest = self.processes.get(one.parent), self.run.manifest
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
            "worker": worker,
            "name": one.name,
        }


class Collector(Protocol):
    """A source of evidence with a life: start, be polled when due, stop.

    Whatever else one of these raises ends this source with status "failed"; the recorder then calls
    `stop` once, also after a `start` that has failed half-way.
    """

    NAME: str

    def start(self, job: Job) -> None:
        """Begin. Raises CollectorUnavailable with the reason where this source cannot be had."""

    def poll(self, now_ns: int) -> int:
        """Do what is due at CLOCK_MONOTONIC `now_ns` without blocking; return when to be called
        next.
        """

    def stop(self) -> SourceStatus:
        """Flush, let go of everything, and say how it went."""
