"""What stays as it is while a run is recorded: the accelerators of the host, their links, and its
network ports.

Written to the manifest by the agent. A number that is not known is -1, a text None; `missing` says
of what cannot be read why.
"""

import msgspec


class LinkFacts(msgspec.Struct):
    """One link between accelerators (NVLink, xGMI): to what, of which generation, and its rate in
    each direction.
    """

    link: int
    peer: str = "unknown"
    """`gpu`, `switch`, `cpu` or `unknown`."""
    peer_bus_id: str | None = None
    generation: int = -1
    bytes_per_s: float = -1.0
    """In each direction, as the driver says; -1 unknown."""


class DeviceFacts(msgspec.Struct):
    """One accelerator, or one MIG instance of it (`parent` is then the number of the whole one)."""

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
    """The most that device and slot can do together."""
    pcie_generation_of_device: int = -1
    pcie_width: int = -1
    base_clock_mhz: int = -1
    boost_clock_mhz: int = -1
    memory_clock_mhz: int = -1
    power_limit_w: float = -1.0
    power_default_limit_w: float = -1.0
    power_is: str | None = None
    """`instant`, or `mean` (over about a second)."""
    links: list[LinkFacts] = []
    missing: dict[str, str] = {}
    """Counter (or group of them) -> why it cannot be read on this device."""


class PortFacts(msgspec.Struct):
    """One network port: an InfiniBand or RoCE port (`mlx5_0/1`) or an interface (`eth0`)."""

    port: str
    kind: str
    """`infiniband`, `roce`, `ethernet`, `loopback` or `virtual`."""
    bytes_per_s: float = -1.0
    """In each direction, from the rate that the kernel says; -1 unknown."""
    state: str | None = None
    numa_node: int = -1
    bus_id: str | None = None
    near: list[int] = []
    """Accelerators that share its PCIe switch, or, where none does, its NUMA node."""


class DeviceSampling(msgspec.Struct):
    """How often the devices were really looked at, and what that cost; `_us` is CPU time for one
    device in one look.
    """

    asked_hz: float
    quick_hz: float
    quick_us: float
    slow_hz: float
    slow_us: float
    holders_hz: float
    """How often each device was asked who is on it."""
    holders_us: float
    core_share: float
