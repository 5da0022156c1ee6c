"""The order for a recording, and its progress while it runs."""

from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.profiler_windows.window import DEFAULT_WINDOW, Window

FLUSH_NS = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """What to record, for how long, and where to.

    Without `duration_s` the recording ends when there are enough steps, after `max_duration_s` at
    the latest.
    """

    pid: int
    out: Path
    depth: str = "kernels"
    duration_s: float | None = None
    max_duration_s: float = 120.0
    all_ranks: bool = False
    follow: bool = False
    """Whether to record until the process ends."""
    flush_ns: int = FLUSH_NS
    window: Window = DEFAULT_WINDOW
    """The profiling window, taken at depth `kernels`."""
    probe_socket: ProbeSocket | None = None
    """The socket to which probes connect that start with their process. Set where perfscope started
    the target, or the target started perfscope.
    """
    nvtx_socket: ProbeSocket | None = None
    """The socket to which perfscope's NVTX library connects."""
    command: tuple[str, ...] = ()
    """The command line that perfscope started; empty where it attached."""
    rank: int = -1
    job: str | None = None
    """A name for the job, the same on all of its hosts, where their launcher gives none."""
    low_priority: bool = False
    """Whether the recording process lowers its own priority once it has begun to enter the target.
    """
    metrics_urls: tuple[str, ...] = ()
    """Metrics pages to read, in place of that of the engine that the target belongs to."""
    wants_metrics: bool = True
    """Whether metrics pages are read."""


@dataclass(frozen=True)
class Progress:
    """The progress of a recording."""

    elapsed_s: float
    steps: int
    step_ms: float | None
    processes: int
    entered_ms: float | None
    """How long the entry stopped the main thread; None while no entry has ended."""
    depth: str
    """The depth reached so far, or `entering`."""
    requests: int = 0
    """Requests that the processes have answered; 0 where any of them trains."""
