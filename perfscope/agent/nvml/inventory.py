"""The facts of a device that do not change: name, place, limits, links."""

import pathlib
from typing import Any, Final

import pynvml

from perfscope.agent.nvml.session import NvmlSession
from perfscope.traces.device_facts import DeviceFacts, LinkFacts

SYS: Final = pathlib.Path("/sys/bus/pci/devices")
PEERS: Final = {
    pynvml.NVML_NVLINK_DEVICE_TYPE_GPU: "gpu",
    pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU: "cpu",
    pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH: "switch",
}
GENERATIONS: Final = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}
"""The NVLink generation of each version number of NVML, which numbers 2.2 and 3.1 separately."""
SPEED_OF_ALL_LINKS: Final = 90
MEGABYTE: Final = 1e6


def device_facts(nvml: NvmlSession, handle: Any, number: int, driver: str | None) -> DeviceFacts:
    """Return the facts of a whole device; what the driver does not report stays unknown."""
    ask = nvml.query
    capability = ask(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory = ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    bus_id = pci_address(ask(pynvml.nvmlDeviceGetPciInfo, handle))
    return DeviceFacts(
        device=number,
        name=str(ask(pynvml.nvmlDeviceGetName, handle) or "NVIDIA device"),
        uuid=ask(pynvml.nvmlDeviceGetUUID, handle),
        bus_id=bus_id,
        minor=int_or_unknown(ask(pynvml.nvmlDeviceGetMinorNumber, handle)),
        numa_node=numa_node(nvml, handle, bus_id),
        compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
        driver=driver,
        memory_bytes=int_or_unknown(None if memory is None else memory.total),
        pcie_generation=int_or_unknown(ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle)),
        pcie_generation_of_device=int_or_unknown(
            ask(pynvml.nvmlDeviceGetGpuMaxPcieLinkGeneration, handle)
        ),
        pcie_width=int_or_unknown(ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle)),
        base_clock_mhz=int_or_unknown(
            ask(pynvml.nvmlDeviceGetDefaultApplicationsClock, handle, pynvml.NVML_CLOCK_GRAPHICS)
        ),
        boost_clock_mhz=int_or_unknown(
            ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM)
        ),
        memory_clock_mhz=int_or_unknown(
            ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM)
        ),
        power_limit_w=to_watts(ask(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        power_default_limit_w=to_watts(
            ask(pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
        ),
        links=active_links(nvml, handle),
    )


def instance_facts(nvml: NvmlSession, handle: Any, number: int, parent: DeviceFacts) -> DeviceFacts:
    """Return the facts of a MIG instance of the device `parent`."""
    memory = nvml.query(pynvml.nvmlDeviceGetMemoryInfo, handle)
    parts = nvml.query(pynvml.nvmlDeviceGetAttributes, handle)
    return DeviceFacts(
        device=number,
        name=str(nvml.query(pynvml.nvmlDeviceGetName, handle) or f"{parent.name} MIG"),
        uuid=nvml.query(pynvml.nvmlDeviceGetUUID, handle),
        bus_id=parent.bus_id,
        parent=parent.device,
        gpu_instance=int_or_unknown(nvml.query(pynvml.nvmlDeviceGetGpuInstanceId, handle)),
        numa_node=parent.numa_node,
        compute_capability=parent.compute_capability,
        driver=parent.driver,
        memory_bytes=int_or_unknown(None if memory is None else memory.total),
        multiprocessors=int_or_unknown(None if parts is None else parts.multiprocessorCount),
    )


def mig_instances(nvml: NvmlSession, handle: Any) -> list[Any]:
    """Return the handles of the MIG instances of a device; none where MIG is off."""
    mode = nvml.query(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return []
    most = nvml.query(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    handles = [
        nvml.query(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        for index in range(most)
    ]
    return [instance for instance in handles if instance is not None]


def active_links(nvml: NvmlSession, handle: Any) -> list[LinkFacts]:
    """Return the NVLinks that are up."""
    rate = link_rate(nvml, handle)
    found = []
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        up = nvml.query(pynvml.nvmlDeviceGetNvLinkState, handle, link)
        if up is None and nvml.last == pynvml.NVML_ERROR_NOT_SUPPORTED:
            continue  # boards may leave out links
        if up is None:
            break
        if up:
            kind = nvml.query(pynvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link)
            version = nvml.query(pynvml.nvmlDeviceGetNvLinkVersion, handle, link)
            bus = pci_address(nvml.query(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link))
            generation = -1 if version is None else GENERATIONS.get(version, -1)
            found.append(LinkFacts(link, PEERS.get(kind, "unknown"), bus, generation, rate))
    return found


def link_rate(nvml: NvmlSession, handle: Any) -> float:
    """Return the bytes per second of one link in one direction, -1 if unknown.

    This is the raw rate, which includes what the encoding takes.
    """
    values = nvml.query(pynvml.nvmlDeviceGetFieldValues, handle, [SPEED_OF_ALL_LINKS])
    if values is None or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return -1.0
    return float(values[0].value.uiVal) * MEGABYTE


def numa_node(nvml: NvmlSession, handle: Any, bus_id: str | None) -> int:
    """Return the NUMA node of the device from the kernel, else from the driver; -1 if unknown."""
    if bus_id is not None:
        try:
            node = int((SYS / bus_id / "numa_node").read_text())
        except (OSError, ValueError):
            node = -1
        if node >= 0:
            return node
    nodes = nvml.query(
        pynvml.nvmlDeviceGetMemoryAffinity, handle, 1, pynvml.NVML_AFFINITY_SCOPE_NODE
    )
    mask = 0 if nodes is None else int(nodes[0])
    return mask.bit_length() - 1 if mask and mask & (mask - 1) == 0 else -1


def pci_address(info: Any | None) -> str | None:
    """Return a PCI address as the kernel writes it: `0000:3b:00.0`."""
    if info is None:
        return None
    text = info.busId.decode() if isinstance(info.busId, bytes) else str(info.busId)
    domain, _, rest = text.partition(":")
    return f"{domain[-4:]}:{rest}".lower() if rest else None


def int_or_unknown(value: Any | None) -> int:
    """Return a whole number, -1 for None."""
    return -1 if value is None else int(value)


def to_watts(milliwatts: Any | None) -> float:
    """Return a power in watts, -1 for None."""
    return -1.0 if milliwatts is None else float(milliwatts) / 1e3
