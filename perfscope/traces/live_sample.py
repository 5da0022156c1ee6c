"""One sample of the devices and processes of a host, as `perfscope top` shows it. Shares are 0 to
1, and NaN where unknown.
"""

from dataclasses import dataclass, field
from math import nan


@dataclass(frozen=True)
class DeviceSample:
    """A device since the last sample. Rates and clocks are -1 or NaN where the device does not
    report them.

    `kernel_time_share`: share of the time in which any kernel ran; `sm_active`: mean share of SMs
    with work (GPM); `clock_events`: NVML's bit mask of what limits the clocks; `lost`: why the
    device does not answer, None when it does.
    """

    device: int
    name: str
    kernel_time_share: float = nan
    sm_active: float = nan
    memory_used_bytes: float = nan
    memory_bytes: int = -1
    power_w: float = nan
    power_limit_w: float = -1.0
    temperature_c: float = nan
    sm_clock_mhz: float = nan
    clock_events: int = 0
    lost: str | None = None


@dataclass(frozen=True)
class RequestSample:
    """The requests of an inference engine since the sample before, by its metrics page.

    Latencies are means; NaN is what the engine does not export, or what no request had.
    """

    engine: str
    per_s: float = nan
    running: float = nan
    waiting: float = nan
    ttft_ms: float = nan
    itl_ms: float = nan


@dataclass(frozen=True)
class ProcessSample:
    """A Python process that uses torch or a device, over the last seconds.

    `cores`: CPU-seconds per second; `waiting_cores`: seconds per second in which its threads were
    runnable and had no core; `states`: shares of the states of its main thread
    (`thread_states.state`), empty where the kernel does not report them; `devices`: the devices on
    which it has memory; `worker_cores`: CPU-seconds per second of its loader workers together.
    """

    pid: int
    name: str
    rank: int | None = None
    cores: float = nan
    waiting_cores: float = nan
    rss_bytes: int = -1
    read_bytes_per_s: float = nan
    states: dict[str, float] = field(default_factory=dict)
    devices: tuple[int, ...] = ()
    device_memory_bytes: int = -1
    workers: int = 0
    worker_cores: float = nan
    torch: bool = True
    requests: RequestSample | None = None


@dataclass(frozen=True)
class LiveSample:
    """One sample: devices, processes, and why there are no devices (None where there are some)."""

    devices: list[DeviceSample]
    processes: list[ProcessSample]
    no_devices: str | None = None
