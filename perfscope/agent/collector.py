"""The interface of a collector, and the job that it records.

A collector is one source of evidence: one class in one file of `collectors/`, listed once in
`collectors.COLLECTORS`.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

from perfscope.agent.stacks.program_lines import ProgramLines
from perfscope.traces.run_folder.folder import RunWriter
from perfscope.traces.run_folder.manifest import SourceStatus

if TYPE_CHECKING:
    from perfscope.agent.recording.recording_plan import Plan


@dataclass(frozen=True)
class TargetProcess:
    """One process of the job.

    `process` is its number in the recording. `start_ticks` distinguishes it from a later process
    with the same pid. `ns_pid` is its pid in its own pid namespace.
    """

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
    """The job that is recorded, and the run folder it is written to."""

    run: RunWriter
    root_pid: int
    processes: dict[int, TargetProcess] = field(default_factory=dict)
    """The living processes, by pid. The recorder keeps them up to date."""
    reported_roles: dict[int, str] = field(default_factory=dict)
    """The role (`main` or `loader-worker`) that the probe of a multiprocessing child reported, by
    pid.
    """
    trained_ns: dict[int, int] = field(default_factory=dict)
    """When each process last ended a step that its probe recorded, by pid (CLOCK_MONOTONIC)."""
    is_stuck: bool = False
    """Whether the job has made no progress for some seconds, and nothing that was recorded will end
    that: it makes no step that a collector could wait for.
    """
    program_lines: ProgramLines = field(default_factory=ProgramLines)
    """The lines of the program in the stacks that were recorded."""
    refresh: Callable[[], None] = lambda: None
    """Updates `processes` now."""

    def row(self, target: TargetProcess, worker: int) -> dict[str, object]:
        """Return the row of `target` for the stream `processes`.

        `worker` is its number in its data loader, -1 for any other process.
        """
        parent, manifest = self.processes.get(target.parent), self.run.manifest
        return {
            "process": target.process,
            "host": manifest.host,
            "boot_id": manifest.boot_id,
            "pid": target.pid,
            "ns_pid": target.ns_pid,
            "start_ticks": target.start_ticks,
            "parent": parent.process if parent else -1,
            "role": target.role,
            "rank": target.rank,
            "local_rank": target.local_rank,
            "worker": worker,
            "name": target.name,
        }


class Need(enum.Enum):
    """A condition that must hold before a collector is started."""

    ENTRY_WANTED = "the depth is `probe` or `kernels`"
    WINDOWS_WANTED = "the depth is `kernels`"
    PROBE_RUNNING = "the collector of the probes has started"
    NO_PROBE = "no probe will run: the depth is `observe`, or no process could be entered"
    ENTRY_REFUSED = "a process with torch could not be entered"
    KINETO_DAEMON = "the target may ask a Kineto daemon for windows"
    NVTX_SOCKET = "perfscope started the target, with its NVTX library and a socket for it"


class Collector(Protocol):
    """A source of evidence: started once, polled while the recording goes on, stopped once.

    The recorder starts a listed collector as soon as all of its `NEEDS` hold. An exception that is
    not documented here ends this source with the status "failed"; `stop` is then called once, even
    after a `start` that failed halfway.
    """

    NAME: ClassVar[str]
    """The name of the source in the manifest. Where two collectors share a name, the one that is
    started later replaces the other.
    """
    PERIOD_NS: ClassVar[int]
    """The usual time between two calls of `poll`."""
    NEEDS: ClassVar[frozenset[Need]] = frozenset()
    STOPS_SLOWLY: ClassVar[bool] = False
    """Whether `stop` may wait for seconds. After a failure, such a collector is stopped only at the
    end of the recording, so that the others are polled on time.
    """

    @classmethod
    def create(cls, plan: "Plan", running: "Sequence[Collector]") -> "Collector":
        """Return a new collector for this recording, given those that are `running` already."""
        return cls()

    def start(self, job: Job) -> None:
        """Begin to collect.

        Raises CollectorUnavailable with the reason where this source cannot be read, and
        NothingToCollect where there is nothing of its kind and so nothing to report.
        """

    def poll(self, now_ns: int) -> int:
        """Do what is due at `now_ns` (CLOCK_MONOTONIC) without blocking.

        Return the time of the next call.
        """

    def abandon(self) -> None:
        """Release what the target must not keep after a failed `stop`; usually nothing."""
        return

    def stop(self) -> SourceStatus:
        """Write what is left, release all resources, and return the status of this source."""
