"""PCIe traffic of devices that have no counter of it.

The call that measures it blocks for 20 ms per direction, so it is made on a thread of its own.
"""

import time
from typing import Any, Final

import pynvml

from perfscope.agent.collector_guard import GuardedThread
from perfscope.agent.nvml.device_watch import DeviceWatch
from perfscope.agent.nvml.session import NvmlSession

PERIOD_S: Final = 1.0
DIRECTIONS: Final = {
    "pcie_tx_bytes_per_s": pynvml.NVML_PCIE_UTIL_TX_BYTES,
    "pcie_rx_bytes_per_s": pynvml.NVML_PCIE_UTIL_RX_BYTES,
}
KB_BYTES: Final = 1e3


class PcieThroughput:
    """The measuring thread; it adds rows to the counters of a DeviceWatch."""

    def __init__(self, watch: DeviceWatch) -> None:
        self.watch, self.nvml = watch, NvmlSession()
        self.thread = GuardedThread(target=self.run, name="nvml-pcie", daemon=True)

    def run(self) -> None:
        """Measure one device per period, in turn, until the watch ends."""
        turn = 0
        while not self.watch.ended.wait(PERIOD_S):
            devices = [device for device in self.watch.devices if device.needs_throughput_call]
            if not devices or self.watch.open_gaps:
                continue
            device = devices[turn % len(devices)]
            turn += 1
            row: dict[str, Any] = {}
            for name, direction in DIRECTIONS.items():
                value = self.nvml.query(
                    pynvml.nvmlDeviceGetPcieThroughput, device.handle, direction
                )
                if value is not None:
                    row[name] = float(value) * KB_BYTES
            if row:
                ts = time.monotonic_ns()
                self.watch.counters.append({"ts": ts, "device": device.number, **row})
