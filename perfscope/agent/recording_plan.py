"""What a recorder is asked for, and what it reports while it runs."""

from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.delivery.probe_socket import ProbeSocket
from perfscope.agent.profiler_windows.window import DEFAULT_WINDOW, Window

FLUSH_NS = 1_000_000_000


@dataclass(frozen=True)
class Plan:
    """What to record: `duration_s` None means until there are enough steps, at most
    `max_duration_s`.

    A `window` is taken at depth `kernels`. With a `door` the target was started by us, as
    `command`, or has started us: probes come to it by themselves. `job` names the job on all its
    hosts, where their launcher does not. `gently`: this process lowers its priority once the target
    is being entered, and keeps it.
    """

    pid: int
    out: Path
    depth: str = "kernels"
    duration_s: float | None = None
    max_duration_s: float = 120.0
    all_ranks: bool = False
    follow: bool = False
    flush_ns: int = FLUSH_NS
    window: Window = DEFAULT_WINDOW
    door: ProbeSocket | None = None
    nvtx_door: ProbeSocket | None = None
    command: tuple[str, ...] = ()
    rank: int = -1
    job: str | None = None
    gently: bool = False


@dataclass(frozen=True)
class Progress:
    """Progress of a recording: `depth` reached so far, or `entering`; `entered_ms`, how long the
    main thread was stopped.
    """

    elapsed_s: float
    steps: int
    step_ms: float | None
    processes: int
    entered_ms: float | None
    depth: str
