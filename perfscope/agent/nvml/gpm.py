"""GPM (Hopper and newer): means over the interval between two samples of a device, or of a MIG
instance.
"""

from typing import Any, Final

import pynvml

from perfscope.agent.nvml.door import Door

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
NEEDS_HOPPER: Final = "needs GPM: Hopper or newer, and driver 520 or newer"


def why_not(door: Door, handle: Any) -> str | None:
    """Why this device has no GPM, None when it has. `handle` is a whole device's."""
    support = door.query(pynvml.nvmlGpmQueryDeviceSupport, handle)
    if support is None:
        return f"{NEEDS_HOPPER} ({door.reason})"
    return None if support.isSupportedDevice else NEEDS_HOPPER


class SamplePair:
    """Two samples in turn. The first look, and one after a gap, gives nothing: there is no interval
    yet.
    """

    def __init__(
        self,
        door: Door,
        handle: Any,
        instance: int | None = None,
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.handle, self.instance = handle, instance
        self.older = door.query(pynvml.nvmlGpmSampleAlloc)
        self.newer = door.query(pynvml.nvmlGpmSampleAlloc)
        self.begun = False
        self.get = pynvml.c_nvmlGpmMetricsGet_t()
        asked = [
            (metric, name, factor)
            for metric, (name, factor) in METRICS.items()
            if name not in without
        ]
        self.wanted = tuple(enumerate(asked))

    def read(self, door: Door, row: dict[str, float]) -> None:
        """Add the means since the last sample to the row."""
        self.older, self.newer = self.newer, self.older
        if not self.take(door):
            self.begun = False
            return
        if self.begun:
            self.compare(door, row)
        self.begun = True

    def take(self, door: Door) -> bool:
        if self.newer is None or self.older is None:
            return False
        if self.instance is None:
            return door.query(pynvml.nvmlGpmSampleGet, self.handle, self.newer) is not None
        return (
            door.query(pynvml.nvmlGpmMigSampleGet, self.handle, self.instance, self.newer)
            is not None
        )

    def compare(self, door: Door, row: dict[str, float]) -> None:
        get = self.get
        get.version, get.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, len(self.wanted)
        get.sample1, get.sample2 = self.older, self.newer
        for at, (metric, _, _) in self.wanted:
            get.metrics[at].metricId = metric
        if door.query(pynvml.nvmlGpmMetricsGet, get) is None:
            return
        for at, (_, name, factor) in self.wanted:
            one = get.metrics[at]
            if one.nvmlReturn == pynvml.NVML_SUCCESS:
                row[name] = one.value * factor

    def close(self, door: Door) -> None:
        for sample in (self.older, self.newer):
            if sample is not None:
                door.query(pynvml.nvmlGpmSampleFree, sample)
        self.older = self.newer = None
