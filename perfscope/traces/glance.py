"""What is seen of a device and of a process at one look: what `perfscope top` shows. Shares are
0..1, NaN unknown.
"""

from dataclasses import dataclass, field
from math import nan


@dataclass(frozen=True)
class DeviceGlance:
    """One device since the last look. Rates and clocks -1 or NaN where the device does not tell
    them.

    `kernel_time_share`: any kernel ran; `sm_active`: mean share of SMs with work (GPM);
    `clock_events`: NVML's bit mask of what holds the clocks; `lost`: why it does not answer, None
    when it does.
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
class ProcessGlance:
    """One Python process that uses torch or a device, over the last seconds.

    `cores`: CPU-seconds per second; `waiting_cores`: seconds per second in which threads of it
    could run and had no core; `states`: shares of what its main thread did (`thread_states.state`),
    empty where the kernel does not tell; `devices`: those it has memory on; `worker_cores`: what
    its loader workers use together.
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


@dataclass(frozen=True)
class Glances:
    """One look: devices, processes, and why there are no devices (None where there are)."""

    devices: list[DeviceGlance]
    processes: list[ProcessGlance]
    no_devices: str | None = None
