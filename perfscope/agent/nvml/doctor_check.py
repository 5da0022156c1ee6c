"""The NVIDIA devices of this machine and their counters, as `perfscope doctor` describes them."""

from collections import Counter

from perfscope.agent.nvml.device_reader import BY_GPM, DeviceReader, open_devices
from perfscope.agent.nvml.session import open_nvml

GROUPS = {
    "load and clocks": ("kernel_time_share", "sm_clock_mhz"),
    "energy": ("energy_j",),
    "SM, tensor and DRAM activity (GPM)": (BY_GPM,),
    "NVLink bytes": ("nvlink_tx_bytes",),
    "PCIe bytes": ("pcie_tx_bytes",),
    "throttle reasons": ("clock_events",),
    "time throttled by power and temperature": ("held_power_ns", "held_thermal_ns"),
    "ECC errors": ("ecc_uncorrected_count",),
}


def describe_devices() -> tuple[str, list[str]]:
    """Return one line about the devices and their counters, and one per device without an answer.

    Raises CollectorUnavailable.
    """
    nvml = open_nvml()
    unanswered: dict[int, str] = {}
    devices = open_devices(nvml, unanswered)
    unanswering = [
        f"device {number} does not answer: {reason}" for number, reason in unanswered.items()
    ]
    if not devices:
        return "no device answers", unanswering
    readable, unreadable = group_counters(devices)
    driver = devices[0].facts.driver
    for device in devices:
        device.close(nvml)
    text = f"works: {list_names(devices)}, driver {driver}; {', '.join(readable)}"
    if unreadable:
        text += f". Not available: {'; '.join(unreadable)}"
    return text, unanswering


def list_names(devices: list[DeviceReader]) -> str:
    """Return the names of the devices, each with its count, and the number of MIG instances."""
    names = Counter(device.facts.name for device in devices if device.whole is None)
    listed = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())
    instances = sum(device.whole is not None for device in devices)
    return f"{listed} and {instances} MIG instances" if instances else listed


def group_counters(devices: list[DeviceReader]) -> tuple[list[str], list[str]]:
    """Return the groups of counters that some device has, and those that none has, with why."""
    readable: list[str] = []
    unreadable: list[str] = []
    for group, counters in GROUPS.items():
        reason = reason_for_none(devices, counters)
        if reason is None:
            readable.append(group)
        else:
            unreadable.append(f"{group}: {reason}")
    return readable, unreadable


def reason_for_none(devices: list[DeviceReader], counters: tuple[str, ...]) -> str | None:
    """Return why no device has these counters; None where one has."""
    first_reason: str | None = None
    for device in devices:
        missing = [device.facts.missing[name] for name in counters if name in device.facts.missing]
        if not missing:
            return None
        first_reason = first_reason or missing[0]
    return first_reason
