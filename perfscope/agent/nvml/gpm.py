"""GPM counters (Hopper and newer): means over the interval between two samples of a device."""

from typing import Any, Final

import pynvml

from perfscope.agent.nvml.session import NvmlSession

MIB: Final = float(1 << 20)
METRICS: Final[dict[int, tuple[str, float]]] = {
    pynvml.NVML_GPM_METRIC_GRAPHICS_UTIL: ("graphics_active", 0.01),
    pynvml.NVML_GPM_METRIC_SM_UTIL: ("sm_active", 0.01),
    pynvml.NVML_GPM_METRIC_SM_OCCUPANCY: ("sm_occupancy", 0.01),
    pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: ("tensor_active", 0.01),
    pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL: ("dram_active", 0.01),
    pynvml.NVML_GPM_METRIC_FP64_UTIL: ("fp64_active", 0.01),
    pynvml.NVML_GPM_METRIC_FP32_UTIL: ("fp32_active", 0.01),
    pynvml.NVML_GPM_METRIC_FP16_UTIL: ("fp16_active", 0.01),
    pynvml.NVML_GPM_METRIC_PCIE_TX_PER_SEC: ("pcie_tx_bytes_per_s", MIB),
    pynvml.NVML_GPM_METRIC_PCIE_RX_PER_SEC: ("pcie_rx_bytes_per_s", MIB),
    pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC: ("nvlink_rx_bytes_per_s", MIB),
    pynvml.NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC: ("nvlink_tx_bytes_per_s", MIB),
}
"""The counter of each metric, and the factor to its unit."""
NEEDS_HOPPER: Final = "needs GPM: Hopper or newer, and driver 520 or newer"
HOW_TO_PERMIT: Final = "It needs root or CAP_SYS_ADMIN, or NVreg_RestrictProfilingToAdminUsers=0"


def reason_for_no_gpm(nvml: NvmlSession, handle: Any) -> str | None:
    """Return why a whole device has no GPM, None when it has it."""
    support = nvml.query(pynvml.nvmlGpmQueryDeviceSupport, handle)
    if support is None:
        return f"{NEEDS_HOPPER} ({nvml.reason})"
    return None if support.isSupportedDevice else NEEDS_HOPPER


class GpmSamples:
    """The last two samples of a device, or of one of its MIG instances."""

    def __init__(
        self,
        nvml: NvmlSession,
        handle: Any,
        instance: int | None = None,
        *,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """Allocate both samples; `without` names the counters that are not wanted."""
        self.handle, self.instance = handle, instance
        self.older = nvml.query(pynvml.nvmlGpmSampleAlloc)
        self.newer = nvml.query(pynvml.nvmlGpmSampleAlloc)
        self.has_older = False
        self.request = pynvml.c_nvmlGpmMetricsGet_t()
        self.wanted = [
            (metric, name, factor)
            for metric, (name, factor) in METRICS.items()
            if name not in without
        ]

    def reason_for_no_sample(self, nvml: NvmlSession) -> str | None:
        """Return why no sample can be taken, None when one was taken.

        Only a sample shows whether this user may take one: in containers, and with the driver's
        option NVreg_RestrictProfilingToAdminUsers, the device supports GPM and refuses it.
        """
        if self.take(nvml):
            return None
        reason = f"GPM refuses a sample: {nvml.reason}"
        return (
            f"{reason}. {HOW_TO_PERMIT}" if nvml.last == pynvml.NVML_ERROR_NO_PERMISSION else reason
        )

    def read(self, nvml: NvmlSession, row: dict[str, float]) -> None:
        """Take a sample and add the means since the last one to the row.

        The first sample, and the first after a gap, add nothing: their interval has no beginning.
        """
        self.older, self.newer = self.newer, self.older
        if not self.take(nvml):
            self.has_older = False
            return
        if self.has_older:
            self.add_means(nvml, row)
        self.has_older = True

    def take(self, nvml: NvmlSession) -> bool:
        """Take the newer sample; return whether that succeeded."""
        if self.newer is None or self.older is None:
            return False
        if self.instance is None:
            taken = nvml.query(pynvml.nvmlGpmSampleGet, self.handle, self.newer)
        else:
            taken = nvml.query(pynvml.nvmlGpmMigSampleGet, self.handle, self.instance, self.newer)
        return taken is not None

    def add_means(self, nvml: NvmlSession, row: dict[str, float]) -> None:
        """Add the means between both samples to the row."""
        request = self.request
        request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(self.wanted)
        request.sample1, request.sample2 = self.older, self.newer
        for index, (metric, _, _) in enumerate(self.wanted):
            request.metrics[index].metricId = metric
        if nvml.query(pynvml.nvmlGpmMetricsGet, request) is None:
            return
        for index, (_, name, factor) in enumerate(self.wanted):
            result = request.metrics[index]
            if result.nvmlReturn == pynvml.NVML_SUCCESS:
                row[name] = result.value * factor

    def close(self, nvml: NvmlSession) -> None:
        """Free both samples."""
        for sample in (self.older, self.newer):
            if sample is not None:
                nvml.query(pynvml.nvmlGpmSampleFree, sample)
        self.older = self.newer = None
