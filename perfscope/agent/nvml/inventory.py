"""What stays as it is of each device: name, place, limits, links. Read once, when a recording
begins.
"""

import pathlib
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.door import Door
from perfscope.traces.device_facts import DeviceFacts, LinkFacts

SYS: Final = pathlib.Path("/sys/bus/pci/devices")
PEERS: Final = {
    pynvml.NVML_NVLINK_DEVICE_TYPE_GPU: "gpu",
    pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU: "cpu",
    pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH: "switch",
}
GENERATIONS: Final = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}
"""NVML's version numbers (2.2 and 3.1 have numbers of their own) to generations of NVLink."""
SPEED_OF_ALL: Final = 90
MEGABYTE: Final = 1e6


def device_facts(door: Door, handle: Any, number: int, driver: str | None) -> DeviceFacts:
    """All that is said of one whole device. What is not said stays unknown."""
    ask = door.query
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    bus_id = bus_of(ask(pynvml.nvmlDeviceGetPciInfo, handle))
    return DeviceFacts(
        device=number,
        name=str(ask(pynvml.nvmlDeviceGetName, handle) or "NVIDIA device"),
        uuid=ask(pynvml.nvmlDeviceGetUUID, handle),
        bus_id=bus_id,
        minor=whole(ask(pynvml.nvmlDeviceGetMinorNumber, handle)),
        numa_node=numa_node(door, handle, bus_id),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        driver=driver,
        memory_bytes=whole(None if memory is None else memory.total),
        pcie_generation=whole(ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)),
        pcie_generation_of_device=whole(ask(pynvml.nvmlDeviceGetGpuMaxPcieLinkGeneration, handle)),
        pcie_width=whole(ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle)),
        base_clock_mhz=whole(
            ask(pynvml.nvmlDeviceGetDefaultApplicationsClock, handle, pynvml.NVML_CLOCK_GRAPHICS)
        ),
        boost_clock_mhz=whole(ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)),
        memory_clock_mhz=whole(
            ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM)
        ),
        power_limit_w=watts(ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        power_default_limit_w=watts(ask(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)),
        links=links(door, handle),
    )


def instance_facts(door: Door, handle: Any, number: int, parent: DeviceFacts) -> DeviceFacts:
    """A MIG instance: its place, limits and links are those of the whole device."""
    memory = door.query(pynvml.nvmlDeviceGetMemoryInfo, handle)
    parts = door.query(pynvml.nvmlDeviceGetAttributes, handle)
    return DeviceFacts(
        device=number,
        name=str(door.query(pynvml.nvmlDeviceGetName, handle) or f"{parent.name} MIG"),
        uuid=door.query(pynvml.nvmlDeviceGetUUID, handle),
        bus_id=parent.bus_id,
        parent=parent.device,
        gpu_instance=whole(door.query(pynvml.nvmlDeviceGetGpuInstanceId, handle)),
        numa_node=parent.numa_node,
        compute_capability=parent.compute_capability,
        driver=parent.driver,
        memory_bytes=whole(None if memory is None else memory.total),
        multiprocessors=whole(None if parts is None else parts.multiprocessorCount),
    )


def instances(door: Door, handle: Any) -> list[Any]:
    """Handles of the MIG instances of a device; none where MIG is off."""
    mode = door.query(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    most = door.query(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    found = [
        door.query(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, at) for at in range(most)
    ]
    return [one for one in found if one is not None]


def links(door: Door, handle: Any) -> list[LinkFacts]:
    """The NVLinks that are up."""
    rate = link_rate(door, handle)
    found = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        up = door.query(pynvml.nvmlDeviceGetNvLinkState, handle, link)
        if up is None:
            break
        if up:
            kind = door.query(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
            version = door.query(pynvml.nvmlDeviceGetNvLinkVersion, handle, link)
            bus = bus_of(door.query(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link))
            generation = GENERATIONS.get(version, -1) if version is not None else -1
            found.append(LinkFacts(link, PEERS.get(kind, "unknown"), bus, generation, rate))
    return found


def link_rate(door: Door, handle: Any) -> float:
    """Bytes a second that the driver says of each link and direction (raw: with what the encoding
    takes); -1 unknown.
    """
    values = door.query(pynvml.nvmlDeviceGetFieldValues, handle, [SPEED_OF_ALL])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return -1.0
    return float(values[0].value.uiVal) * MEGABYTE


def numa_node(door: Door, handle: Any, bus_id: str | None) -> int:
    """The NUMA node that the device is at: by the kernel, else by the driver; -1 unknown."""
    if bus_id is not None:
        try:
            node = int((SYS / bus_id / "numa_node").read_text())
        except (OSError, ValueError):
            node = -1
        if node >= 0:
            return node
    nodes = door.query(
        pynvml.nvmlDeviceGetMemoryAffinity, handle, 1, pynvml.NVML_AFFINITY_SCOPE_NODE
    )
    mask = 0 if nodes is None else int(nodes[0])
    return mask.bit_length() - 1 if mask and mask & (mask - 1) == 0 else -1


def bus_of(info: Any | None) -> str | None:
    """PCI address as the kernel writes it: `0000:3b:00.0`."""
    if info is None:
        return None
    text = info.busId.decode() if isinstance(info.busId, bytes) else str(info.busId)
    domain, _, rest = text.partition(":")
    return f"{domain[-4:]}:{rest}".lower() if rest else None


def whole(value: Any | None) -> int:
    return -1 if value is None else int(value)


def watts(milliwatts: Any | None) -> float:
    return -1.0 if milliwatts is None else float(milliwatts) / 1e3
