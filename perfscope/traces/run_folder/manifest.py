"""The contents of `manifest.json` in a run folder: what was recorded, where and how, and what is
missing.
"""

import msgspec

from perfscope.traces.device_facts import DeviceFacts, DeviceSampling, PortFacts
from perfscope.traces.schema import SCHEMA_VERSION
from perfscope.traces.validation.invariants import Violation


class SourceStatus(msgspec.Struct):
    """A source of evidence. `status` is ok, partial, off, unavailable or failed; `reason` explains
    every status but ok.
    """

    name: str
    status: str
    reason: str | None = None
    overhead_share: float | None = None


class UsableCores(msgspec.Struct):
    """The cores that the job may use: the lowest of its limits. A limit that is not set is None.

    `physical` are the physical cores of its affinity, None unknown.
    """

    cores: float
    affinity: int
    cpuset: int | None = None
    quota: float | None = None
    slurm_cpus_per_task: int | None = None
    physical: int | None = None


class TorchFacts(msgspec.Struct):
    """Facts about torch in the target, reported by the probe."""

    version: str
    intra_op_threads: int
    inter_op_threads: int
    cuda: bool
    """Whether CUDA (or ROCm) was initialized."""
    accelerator: str = ""
    """The type of the device that the process computes on, as torch calls it; "" for none."""
    hip: str = ""
    """The version of HIP that torch was built for, "" for another device."""
    devices: list[str] = []
    """The UUIDs of the devices on which the process has a context."""
    float32_products: str = ""
    """How a CUDA device multiplies float32: `tf32`, `ieee`; "" unknown."""
    anomaly_detection: bool = False
    """Whether autograd records where each operator was called (`set_detect_anomaly`)."""
    thread_variables: dict[str, int] = {}
    """Environment variables that set the number of intra-op threads, in the process now."""


class Calibration(msgspec.Struct, frozen=True):
    """Measured rates of one torch build with one number of threads."""

    host: str
    cpu: str
    torch: str
    threads: int
    flops_per_s: dict[str, float]  # of a large matrix multiplication, by element type
    bytes_per_s: float  # a triad (two arrays read, one written) larger than the caches
    busy_share: float  # share of the cores that other processes used meanwhile
    made_unix_s: float


class DeviceCalibration(msgspec.Struct, frozen=True):
    """The peak rates of an accelerator that `perfscope doctor --calibrate --device` measures."""

    device: str  # its name, as torch and its traces give it
    multiprocessors: int  # its compute units, -1 unknown
    torch: str
    flops_per_s: dict[str, float]  # of a large matrix multiplication, by element type
    bytes_per_s: float  # a triad (two arrays read, one written) larger than the caches
    made_unix_s: float


class ProbeCost(msgspec.Struct, frozen=True):
    """The cost of a probe for its process, in nanoseconds, where it was measured directly. Any
    other cost shows in the length of the steps.
    """

    process: int
    stopped_ns: int  # how long the entry stopped the main thread
    install_ns: int  # CPU time of the probe's thread until its patches were installed
    records_ns: int  # writing records, at the measured cost of one
    sampling_ns: int  # wake-ups of the probe's thread, with two thread switches each
    span_ns: int  # from entry to exit


class Manifest(msgspec.Struct):
    """The manifest of one host's part of a job. The two `zero` times are one instant on two
    clocks.
    """

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
    violations: list[Violation] = []
    costs: list[ProbeCost] = []
    world_size: int | None = None  # ranks of the job, where its launcher set their number
    agent_cpu_ns: int | None = None  # CPU time of the agent and its children during the recording
    finished: bool = False
    end_reason: str | None = None
    schema: int = SCHEMA_VERSION
