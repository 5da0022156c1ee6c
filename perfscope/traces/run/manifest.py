"""`manifest.json` of a run folder: who was recorded, where, with what, and what is missing."""

import msgspec

from perfscope.traces.device_facts import DeviceFacts, DeviceSampling, PortFacts
from perfscope.traces.schema import SCHEMA_VERSION


class SourceStatus(msgspec.Struct):
    """A source of evidence: status ok, partial, off, unavailable or failed, with the reason for all
    but the first.
    """

    name: str
    status: str
    reason: str | None = None
    overhead_share: float | None = None


class UsableCores(msgspec.Struct):
    """Cores the job may use: the least of what limits it. A limit that is not set is null."""

    cores: float
    affinity: int
    cpuset: int | None = None
    quota: float | None = None
    slurm_cpus_per_task: int | None = None


class TorchFacts(msgspec.Struct):
    """What the probe saw of torch in the target."""

    version: str
    intra_op_threads: int
    inter_op_threads: int
    cuda: bool


class Calibration(msgspec.Struct, frozen=True):
    """Rates of one torch build with one number of threads, on an idle machine."""

    host: str
    cpu: str
    torch: str
    threads: int
    flops_per_s: dict[str, float]  # of a large product, by element type
    bytes_per_s: float  # a triad on arrays beyond the caches: two read, one written
    busy_share: float  # of the machine's cores, by others, when it was made
    made_unix_s: float


class ProbeCost(msgspec.Struct, frozen=True):
    """What a probe cost its process, in nanoseconds, as far as it was measured directly; the rest
    shows in the steps.
    """

    process: int
    stopped_ns: int  # the main thread stood still for the entry
    install_ns: int  # CPU time of the probe's thread until its patches were in place
    records_ns: int  # records on the threads that made them, at their measured cost
    sampling_ns: int  # wakings of the probe's thread, two thread switches included
    span_ns: int  # from entry to exit


class Manifest(msgspec.Struct):
    """One host's part of one job; times zero are the same instant read on both clocks."""

    job_id: str
    host: str
    boot_id: str
    zero_monotonic_ns: int
    zero_realtime_ns: int
    tool_version: str
    command: list[str]
    target_pid: int
    depth: str
    depth_reason: str | None = None
    usable_cores: UsableCores | None = None
    memory_limit_bytes: int | None = None
    shm_bytes: int | None = None
    torch: TorchFacts | None = None
    calibration: Calibration | None = None
    devices: list[DeviceFacts] = []
    device_sampling: DeviceSampling | None = None
    ports: list[PortFacts] = []
    sources: list[SourceStatus] = []
    dropped: list[str] = []
    costs: list[ProbeCost] = []
    agent_cpu_ns: int | None = None  # of our own process and its children while it recorded
    finished: bool = False
    end_reason: str | None = None
    schema: int = SCHEMA_VERSION
