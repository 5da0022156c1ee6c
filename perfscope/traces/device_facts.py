"""Facts that do not change during a recording: the accelerators of the host, their links, and its
network ports.

The agent writes them to the manifest. An unknown number is -1, an unknown text None. `missing` has
the reason for each fact that cannot be read.
"""

import msgspec


class LinkFacts(msgspec.Struct):
    """One link of an accelerator (NVLink, xGMI)."""

    link: int
    peer: str = "unknown"
    """`gpu`, `switch`, `cpu` or `unknown`."""
    peer_bus_id: str | None = None
    generation: int = -1
    bytes_per_s: float = -1.0
    """Rate in each direction that the driver reports, -1 unknown."""


class DeviceFacts(msgspec.Struct):
    """An accelerator, or a MIG instance, whose `parent` is the number of its accelerator."""

    device: int
    name: str
    kind: str = "cuda"
    uuid: str | None = None
    bus_id: str | None = None
    minor: int = -1
    parent: int = -1
    gpu_instance: int = -1
    numa_node: int = -1
    compute_capability: str | None = None
    driver: str | None = None
    memory_bytes: int = -1
    multiprocessors: int = -1
    pcie_generation: int = -1
    """The highest that both device and slot support."""
    pcie_generation_of_device: int = -1
    pcie_width: int = -1
    base_clock_mhz: int = -1
    boost_clock_mhz: int = -1
    memory_clock_mhz: int = -1
    power_limit_w: float = -1.0
    power_default_limit_w: float = -1.0
    power_is: str | None = None
    """`instant`, or `mean` (of about a second)."""
    links: list[LinkFacts] = []
    missing: dict[str, str] = {}
    """Counter, or group of counters -> why the device does not provide it."""


class PortFacts(msgspec.Struct):
    """One network port: an InfiniBand or RoCE port (`mlx5_0/1`) or an interface (`eth0`)."""

    port: str
    kind: str
    """`infiniband`, `roce`, `ethernet`, `loopback` or `virtual`."""
    bytes_per_s: float = -1.0
    """Rate in each direction that the kernel reports, -1 unknown."""
    state: str | None = None
    numa_node: int = -1
    bus_id: str | None = None
    near: list[int] = []
    """Accelerators on the same PCIe switch, or, where there are none, on the same NUMA node."""


class DeviceSampling(msgspec.Struct):
    """How often the devices were sampled, and the cost. `_us` is CPU time per device and sample."""

    asked_hz: float
    quick_hz: float
    quick_us: float
    slow_hz: float
    slow_us: float
    processes_hz: float = msgspec.field(name="holders_hz")
    """How often the processes of each device were listed."""
    processes_us: float = msgspec.field(name="holders_us")
    core_share: float
