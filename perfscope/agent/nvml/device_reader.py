"""Reads the counters of one NVIDIA device, or of one MIG instance."""

import time
from typing import Any

import pynvml

from perfscope.agent.nvml.gpm import GpmSamples, reason_for_no_gpm
from perfscope.agent.nvml.inventory import device_facts, instance_facts, mig_instances
from perfscope.agent.nvml.readings import NvmlCall, ReadingMethods, choose_methods
from perfscope.agent.nvml.session import NvmlSession
from perfscope.traces.device_facts import DeviceFacts

BY_GPM = "sm_active, tensor_active, dram_active and the other GPM counters"
LINKS = ("pcie", "nvlink")
TOTALS = frozenset(f"{link}_{direction}_bytes" for link in LINKS for direction in ("tx", "rx"))
MIG_IS_ON = "MIG is on: GPM is read from each instance"


class DeviceReader:
    """One device: its facts, and the calls that return its counters.

    `whole` is the device that a MIG instance is a part of, None for a whole device.
    """

    def __init__(
        self,
        nvml: NvmlSession,
        handle: Any,
        facts: DeviceFacts,
        whole: "DeviceReader | None" = None,
    ) -> None:
        self.handle, self.facts, self.whole = handle, facts, whole
        self.methods: ReadingMethods = choose_methods(nvml, handle)
        self.samples: GpmSamples | None = None
        self.read_ns = 0
        """When the counters were read last."""
        facts.power_is = kind_of_power(self.methods.power_is, facts.compute_capability)
        facts.missing = dict(self.methods.missing)
        self.begin_gpm(nvml)

    def begin_gpm(self, nvml: NvmlSession) -> None:
        """Begin to sample by GPM where the device has it; instances are sampled through the whole
        device.
        """
        whole_handle = self.whole.handle if self.whole is not None else self.handle
        reason = reason_for_no_gpm(nvml, whole_handle)
        if reason is None and self.whole is None and mig_instances(nvml, self.handle):
            reason = MIG_IS_ON
        if reason is not None:
            self.facts.missing[BY_GPM] = reason
            return
        instance = self.facts.gpu_instance if self.whole is not None else None
        totals = {name for name, _ in self.methods.slow_fields.factors} & TOTALS
        rates_from_totals = frozenset(f"{name}_per_s" for name in totals)
        samples = GpmSamples(nvml, whole_handle, instance, without=rates_from_totals)
        reason = samples.reason_for_no_sample(nvml)
        if reason is not None:
            self.facts.missing[BY_GPM] = reason
            samples.close(nvml)
            return
        self.samples = samples
        for link in LINKS:
            self.facts.missing.pop(f"{link}_tx_bytes", None)
            self.facts.missing.pop(f"{link}_rx_bytes", None)

    @property
    def number(self) -> int:
        """The number of the device in the recording."""
        return self.facts.device

    @property
    def needs_throughput_call(self) -> bool:
        """Whether only the call that blocks can measure its PCIe traffic."""
        has_no_counter = "pcie_tx_bytes" in self.facts.missing
        return self.whole is None and self.samples is None and has_no_counter

    def read_quick(self, nvml: NvmlSession) -> dict[str, float]:
        """Return the counters that are cheap to read."""
        row: dict[str, float] = {}
        add_call_values(nvml, self.handle, self.methods.quick, row)
        self.methods.quick_fields.read(nvml, self.handle, row)
        self.read_ns = time.monotonic_ns()
        return row

    def read_slow(self, nvml: NvmlSession) -> dict[str, float]:
        """Return the counters that are expensive to read, or change slowly.

        Totals come first, at `read_ns`: a rate is as exact as the times of its two totals.
        """
        row: dict[str, float] = {}
        self.methods.slow_fields.read(nvml, self.handle, row)
        self.read_ns = time.monotonic_ns()
        add_call_values(nvml, self.handle, self.methods.slow, row)
        if self.samples is not None:
            self.samples.read(nvml, row)
        return row

    def close(self, nvml: NvmlSession) -> None:
        """Free the samples."""
        if self.samples is not None:
            self.samples.close(nvml)


def kind_of_power(by_method: str | None, capability: str | None) -> str | None:
    """Return whether power is an `instant` value or a `mean`, by how it is read and the device.

    The old call returns a mean only from Ampere on, and not on its GA100 (nvml.h,
    nvmlDeviceGetPowerUsage).
    """
    if by_method != "mean" or capability is None:
        return by_method
    numbers = [int(number) for number in capability.split(".") if number.isdecimal()]
    return "mean" if numbers > [8, 0] else "instant"


def add_call_values(
    nvml: NvmlSession, handle: Any, calls: list[NvmlCall], row: dict[str, float]
) -> None:
    """Add the values of these calls to the row; end early when the device or the driver is gone."""
    for call in calls:
        value = nvml.query(call.function, handle, *call.args)
        if value is not None:
            row.update(zip(call.names, call.values(value), strict=True))
        elif nvml.is_driver_gone or nvml.is_device_gone:
            return


def open_devices(nvml: NvmlSession, unanswered: dict[int, str] | None = None) -> list[DeviceReader]:
    """Return a reader for each device that answers, then for each MIG instance.

    The reasons of devices that do not answer are added to `unanswered`, by number.
    """
    driver = nvml.query(pynvml.nvmlSystemGetDriverVersion)
    whole_devices: list[DeviceReader] = []
    count = nvml.query(pynvml.nvmlDeviceGetCount) or 0
    for number in range(count):
        handle = nvml.query(pynvml.nvmlDeviceGetHandleByIndex, number)
        if handle is not None:
            facts = device_facts(nvml, handle, number, driver)
            whole_devices.append(DeviceReader(nvml, handle, facts))
        elif unanswered is not None:
            unanswered[number] = nvml.reason
    instances: list[DeviceReader] = []
    for device in whole_devices:
        for handle in mig_instances(nvml, device.handle):
            facts = instance_facts(nvml, handle, count + len(instances), device.facts)
            instances.append(DeviceReader(nvml, handle, facts, device))
    return [*whole_devices, *instances]
